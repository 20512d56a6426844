/*
 * Random keys in the line editor of the C client, mixed with lines from the server, prompts for a
 * password, and changes of the window's size. Run it under valgrind: `client_keys SEED`.
 */
#define _GNU_SOURCE
#define LINE_EDITING
#include "../../../clients/c/terminal.h"

#include <fcntl.h>
#include <locale.h>
#include <pty.h>
#include <stdlib.h>

#define STEPS 400

static const char *const keys[] = {
    "a",
    "b",
    "/",
    " ",
    "\xC3\xA9",
    "\t",
    "\n",
    "\001",
    "\002",
    "\005",
    "\006",
    "\b",
    "\x0B",
    "\f",
    "\x0E",
    "\x10",
    "\x12",
    "\x13",
    "\x14",
    "\x15",
    "\x16",
    "\x17",
    "\x19",
    "\x1F",
    "\a",
    "\x18(",
    "\x18)",
    "\x18"
    "e",
    "\x18\x15",
    "\033[A",
    "\033[B",
    "\033[C",
    "\033[D",
    "\033[H",
    "\033[F",
    "\033[3~",
    "\033b",
    "\033f",
    "\033d",
    "\033p",
    "\033n",
    "\033r",
    "\033.",
    "\033<",
    "\033>",
    "\033t",
    "\033u",
    "\033y",
    "\033#",
    "\033*",
    "\033?",
    "\x1D"
    "a",
    "\033-",
    "\0335",
    "\x7F",
    "\033\x7F",
    "\033[200~pa\nste\033[201~",
};

static bool typed(void *context, const char *line, size_t length)
{
    (void)context, (void)line, (void)length;
    return random() % 4 != 0;
}

static void step(int master)
{
    const char *key = keys[(size_t)random() % (sizeof keys / sizeof *keys)];
    char screen[4096];
    switch (random() % 20) {
    case 0:
        hide_typing();
        break;
    case 1:
    case 2:
        show_typing();
        break;
    case 3:
        print_above("alice: hi\n", strlen("alice: hi\n"));
        break;
    case 4:
        on_resized();
        break;
    default:
        if (write(master, key, strlen(key)) < 0)
            abort();
    }
    take();
    if (is_editing() && !terminal.drawn)
        draw("me> ", strlen("me> "), true);
    if (is_editing())
        read_line();
    else
        tcflush(STDIN_FILENO, TCIFLUSH);
    while (read(master, screen, sizeof screen) > 0)
        continue;
}

int main(int argc, char **argv)
{
    int master, slave;
    struct winsize size = {.ws_row = 24, .ws_col = 40};
    struct termios mode;
    srandom((unsigned)atoi(argc > 1 ? argv[1] : "1"));
    if (openpty(&master, &slave, NULL, NULL, &size) < 0)
        return 2;
    fcntl(master, F_SETFL, O_NONBLOCK);
    tcgetattr(slave, &mode);
    mode.c_iflag &= ~(tcflag_t)IXON; /* Ctrl+S and Ctrl+C are ordinary keys */
    mode.c_lflag &= ~(tcflag_t)ISIG;
    tcsetattr(slave, TCSANOW, &mode);
    dup2(slave, STDIN_FILENO);
    dup2(slave, STDOUT_FILENO);
    setenv("TERM", "xterm", 1);
    setlocale(LC_CTYPE, "C.UTF-8");
    start_editing(typed, NULL);
    know("alice");
    for (int i = 0; i < STEPS; i++)
        step(master);
    return 0;
}
