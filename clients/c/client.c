/*
 * chat_client: the chat client in C, for Linux. PROTOCOL.md is the contract that it keeps; ids
 * such as CLIENT-4 name its rules.
 *
 *     gcc -o chat_client client.c && ./chat_client        (--help tells the rest)
 *     gcc -DLINE_EDITING -o chat_client client.c -lreadline        (with GNU readline's editing)
 *
 * One thread and one poll loop, with two ways through it:
 *
 *     keyboard -> outbox -> server
 *     server -> screen
 *
 * and of a connection, where one that is lost is tried again:
 *
 *     ASKED -> JOINED -> AWAY -> RETURNING -> JOINED
 *
 * Where lines are edited, the line that is being typed, behind the server's prompt if there is
 * one, is the last thing on the screen: it is taken off for whatever is shown, and drawn below.
 *
 * What always holds:
 *  1. Nothing but `wait_for_work` ever waits, once there was a connection, but for a while where
 *     one is made or ended: a server that does not read, or a terminal that is held up, does not
 *     keep the other direction, or Ctrl+C, from working. (Where lines are edited, a terminal may
 *     hold up the drawing of one.)
 *  2. What waits is bounded: where it is too much, its source is not read.
 *  3. Nothing from the server reaches the screen unless it was made harmless (`show`).
 *  4. A typed line leaves the outbox once all of it is sent, and what was typed while there was
 *     no connection (`kept`) enters it once the server has welcomed us: never at a prompt.
 *  5. The terminal gets its mode back, however the program ends or is stopped (`terminal`).
 *
 * Exit status: 0 ended by the user, or by the server in peace; 1 the connection failed or was
 * refused; 2 the command line is wrong.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#ifdef LINE_EDITING
#include <locale.h>
#include <readline/history.h>
#include <readline/readline.h>
#include <wchar.h>
#endif

/* ---- 1. Limits ------------------------------------------------------------------------------ */

#define VERSION           "0.1.0"
#define HOST              "localhost"
#define PORT              "8080"
#define MAX_WAITING       (64 * 1024) /* bytes that may wait one way; then its source does */
#define READ_SIZE         (16 * 1024) /* bytes read in one go, and the longest --name */
#define LINE_KEPT         128         /* bytes kept of a server's line: more than have a meaning */
#define LONG_LINE         1025        /* bytes that no server takes as one line */
#define MAX_ANSWERS       8           /* to prompts on one connection: no server asks more often */
#define CLOSE_SECONDS     1           /* for the server to end its side, once we have ended ours */
#define TRY_SECONDS       30   /* for an address to answer; for the welcome, on the way back */
#define MAX_PROMPT        2048 /* bytes of an unfinished line that may stand before a typed one */
#define MAX_TYPED         4095 /* bytes of an edited line; a terminal itself takes no more */
#define MAX_KEY           32   /* bytes that one key sends, and that are read of them in one go */
#define HISTORY           500  /* lines to be had again by Up */
#define RETRIES           10
#define RETRY_SECONDS     1
#define MAX_RETRY_SECONDS 30

#define PROMPT          "Enter your screen name: "
#define PASSWORD_PROMPT "Password: "
#define WELCOME         "Welcome, "    /* and a name */
#define GOODBYE         "Goodbye, "    /* and a name */
#define REPLACEMENT     "\xEF\xBF\xBD" /* U+FFFD */

/* ---- 2. Types ------------------------------------------------------------------------------- */

/* Where the client is with the server. */
enum phase {
    ASKED,     /* connected, and never welcomed yet: the user answers the prompts */
    JOINED,    /* welcomed */
    AWAY,      /* the connection is lost, and the next try is not due yet */
    RETURNING, /* connected again: what we remember answers the prompts */
};

/* The command line. */
struct options {
    const char *host;
    const char *port; /* as typed, once it is known to be a number */
    const char *name; /* the answer to the prompt, or NULL: be asked for it */
    int retries;
    double retry_delay;
};

/* What waits in one direction. It is not read for more once it holds MAX_WAITING. */
struct queue {
    size_t length;
    char bytes[MAX_WAITING + 8 * READ_SIZE]; /* and room for what one round may bring */
};

/* The beginning of a line. */
struct line {
    size_t length; /* bytes kept; LINE_KEPT: the line may be longer */
    char bytes[LINE_KEPT];
};

/* One connection, and what is known of it. */
struct link {
    int fd;        /* -1: it is closed */
    size_t sent;   /* bytes of the outbox: the beginning of a line */
    bool sent_all; /* the input has ended, and so has, in order, our side */
    bool broken;   /* the server takes no more, or has reset the connection */
    bool ended;    /* nothing more comes from the server, or shall come */

    struct line line;                 /* what the server's last line has so far, without prompts */
    struct line last;                 /* its last whole one, likewise */
    size_t prompts;                   /* how often it has asked */
    const char *asked;                /* its last prompt, or NULL */
    size_t answered;                  /* number of the following */
    struct line answers[MAX_ANSWERS]; /* the first lines typed, until the welcome */
    bool named;                       /* the answer that --name gives was given */

    size_t held_length; /* bytes of what follows */
    char held[4];       /* the beginning of a character, or a CR that may belong to a line end */
};

/* Everything. */
struct client {
    struct options options;
    int wake;           /* can be read once a signal has come */
    struct link link;   /* the connection; AWAY: the last one */
    const char *answer; /* to the prompt for the name, by --name, until it is refused */
    enum phase phase;

    struct queue outbox; /* from the keyboard, for the server */
    struct queue kept;   /* ... and typed while there was none */
    struct line typed;   /* the line that is passed on */
    bool unfinished;     /* the last line of the input is not whole yet */
    bool forgets;        /* ... and is for nobody */
    bool typed_all;      /* the input has ended */
    struct queue screen; /* for standard output */

    struct line name;     /* the one we have, or last had; empty before the first welcome */
    bool has_password;    /* the following was accepted */
    struct line password; /* the one that goes with the name */
    struct line offered;  /* one that a command has in it, until the server agrees */
    int tries;            /* since the last welcome */
    double delay;         /* before the next one */
    int64_t deadline;     /* AWAY: for the next try; RETURNING: for its end */
};

/* There is room: a source is read only while less than MAX_WAITING waits. */
static void put(struct queue *queue, const char *bytes, size_t length)
{
    memcpy(queue->bytes + queue->length, bytes, length);
    queue->length += length;
}

/* Takes what was written off the front; -1, an error, is nothing. */
static void take(struct queue *queue, ssize_t length)
{
    if (length <= 0)
        return;
    queue->length -= (size_t)length;
    memmove(queue->bytes, queue->bytes + length, queue->length);
}

/* How much of what waits is whole lines. */
static size_t whole_lines(const struct queue *queue)
{
    const char *end = memrchr(queue->bytes, '\n', queue->length);
    return end ? (size_t)(end - queue->bytes) + 1 : 0;
}

/* Adds to a line what still fits. */
static void append(struct line *line, const char *bytes, size_t length)
{
    size_t room = LINE_KEPT - line->length;
    memcpy(line->bytes + line->length, bytes, length < room ? length : room);
    line->length += length < room ? length : room;
}

static bool line_is(const struct line *line, const char *text)
{
    return line->length == strlen(text) && memcmp(line->bytes, text, line->length) == 0;
}

static bool same_line(const struct line *a, const struct line *b)
{
    return a->length == b->length && memcmp(a->bytes, b->bytes, a->length) == 0;
}

static bool begins(const struct line *line, const char *text)
{
    return line->length >= strlen(text) && memcmp(line->bytes, text, strlen(text)) == 0;
}

/* The length of the command that a line begins with, where it is one that takes a password. */
static size_t password_command(const struct line *line)
{
    static const char *const words[] = {"/register ", "/passwd "};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t length = strlen(words[i]);
        if (line->length >= length && strncasecmp(line->bytes, words[i], length) == 0)
            return length;
    }
    return 0;
}

/* Takes bytes off the front of a line. */
static void skip(struct line *line, size_t length)
{
    line->length -= length;
    memmove(line->bytes, line->bytes + length, line->length);
}

/* Takes a text off the front of a line; false where it does not begin with it. */
static bool skip_text(struct line *line, const char *text)
{
    bool found = begins(line, text);
    if (found)
        skip(line, strlen(text));
    return found;
}

/* The length of the first of several lines, with its end; of an unfinished one, all there is. */
static size_t piece_length(const char *bytes, size_t length)
{
    const char *end = memchr(bytes, '\n', length);
    return end ? (size_t)(end - bytes) + 1 : length;
}

/* ---- 3. Screen ------------------------------------------------------------------------------ */

/* The length that the first byte of a UTF-8 character announces; 0 where it cannot be a first. */
static size_t character_length(char byte)
{
    unsigned char first = (unsigned char)byte;
    if (first < 0x80)
        return 1;
    if (first < 0xC2 || first > 0xF4)
        return 0;
    return first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
}

/* Decodes one UTF-8 character of a known length; false where the bytes are not one. */
static bool decode(const char *bytes, size_t length, uint32_t *code)
{
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000}; /* below it: overlong */
    unsigned char first = (unsigned char)bytes[0];
    *code = length == 1 ? first : first & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        unsigned char next = (unsigned char)bytes[i];
        if ((next & 0xC0) != 0x80)
            return false;
        *code = *code << 6 | (next & 0x3F);
    }
    bool surrogate = *code >= 0xD800 && *code <= 0xDFFF;
    return *code >= lowest[length] && !surrogate && *code <= 0x10FFFF;
}

/* C0 except TAB and line end, DEL and C1, and what breaks a line or turns its direction. */
static bool is_control(uint32_t code)
{
    return (code < 0x20 && code != '\t' && code != '\n') || (code >= 0x7F && code <= 0x9F) ||
           (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

/* Whether it takes more bytes to judge these: a CR, or the beginning of a character. */
static bool is_unfinished(const char *bytes, size_t left)
{
    size_t length = character_length(bytes[0]);
    if (left == 1 && bytes[0] == '\r')
        return true;
    for (size_t i = 1; i < left && i < length; i++)
        if (((unsigned char)bytes[i] & 0xC0) != 0x80)
            return false;
    return left < length;
}

/* Shows one character, or what stands for it; returns how many bytes it took. */
static size_t show_one(struct queue *screen, const char *bytes, size_t left)
{
    size_t length = character_length(bytes[0]);
    uint32_t code;
    bool good = length > 0 && length <= left && decode(bytes, length, &code);
    if (left > 1 && bytes[0] == '\r' && bytes[1] == '\n')
        return 1;
    if (good && !is_control(code))
        put(screen, bytes, length);
    else
        put(screen, REPLACEMENT, sizeof REPLACEMENT - 1);
    return good ? length : 1;
}

/*
 * Puts what came, READ_SIZE bytes at most, on the screen, made harmless (CLIENT-6). What cannot
 * be judged yet is held back; `final` says that nothing more will come.
 */
static void show(struct client *client, const char *bytes, size_t length, bool final)
{
    struct link *link = &client->link;
    char all[sizeof link->held + READ_SIZE];
    char *next = all;
    char *end = mempcpy(mempcpy(all, link->held, link->held_length), bytes, length);
    while (next < end && (final || !is_unfinished(next, (size_t)(end - next))))
        next += show_one(&client->screen, next, (size_t)(end - next));
    link->held_length = (size_t)(end - next);
    memcpy(link->held, next, link->held_length);
}

/*
 * Writes the first of what waits for standard output: no more than PIPE_BUF, which is what may be
 * written without waiting where `poll` agrees. False where standard output is gone.
 */
static bool write_screen(struct client *client, size_t length)
{
    ssize_t n = write(STDOUT_FILENO, client->screen.bytes, length < PIPE_BUF ? length : PIPE_BUF);
    take(&client->screen, n);
    return n >= 0 || errno == EAGAIN || errno == EINTR;
}

/* ---- 4. Terminal ---------------------------------------------------------------------------- */

/* The terminal that standard input is, if it is one. */
struct terminal {
    struct termios before;         /* its mode as it was */
    volatile sig_atomic_t changed; /* ... and is not any more */
    bool edited;                   /* keys are taken one by one, and nothing is echoed */
    bool hidden;                   /* what is typed is not shown */
};

static struct terminal terminal;

/* Whether somebody else, such as the shell, has the terminal now. */
static bool in_background(void)
{
    pid_t group = tcgetpgrp(STDIN_FILENO);
    return group > 0 && group != getpgrp();
}

/* Whether a descriptor can be read, or written, at once. */
static bool is_ready(int fd, short events)
{
    struct pollfd wanted = {.fd = fd, .events = events};
    return poll(&wanted, 1, 0) > 0;
}

/* Drops what was typed unseen, and not read yet: nobody else is to have it (HIDE-1). */
static void drop_input(void)
{
    if (terminal.hidden && terminal.changed && !in_background())
        tcflush(STDIN_FILENO, TCIFLUSH);
}

/* Gives the terminal back as it was, from the background too; a signal handler may call it. */
static void restore_terminal(void)
{
    sigset_t stop, before;
    if (!terminal.changed)
        return;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTTOU);
    sigprocmask(SIG_BLOCK, &stop, &before);
    drop_input();
    tcsetattr(STDIN_FILENO, TCSANOW, &terminal.before);
    sigprocmask(SIG_SETMASK, &before, NULL);
    terminal.changed = false;
}

/*
 * Gives the terminal the mode that is wanted now, if it is ours. What was typed ahead stays, and
 * nothing waits for what is still to be shown: a terminal that is held up would hold us up too.
 */
static void change_terminal(void)
{
    if (!terminal.edited && !terminal.hidden) {
        restore_terminal();
        return;
    }
    if (in_background() || (!terminal.changed && tcgetattr(STDIN_FILENO, &terminal.before) < 0))
        return; /* ... and if it is one */
    struct termios mode = terminal.before;
    if (mode.c_lflag & ECHO) /* where it is off, someone else shows what is typed */
        mode.c_lflag = (mode.c_lflag & ~(tcflag_t)ECHO) | ECHONL;
    if (terminal.edited) {
        mode.c_lflag &= ~(tcflag_t)(ICANON | ECHONL | IEXTEN);
        mode.c_iflag &= ~(tcflag_t)(ICRNL | INLCR | IGNCR | ISTRIP | IXON);
        mode.c_cc[VMIN] = 1;
        mode.c_cc[VTIME] = 0;
    }
    terminal.changed = true;
    tcsetattr(STDIN_FILENO, TCSANOW, &mode);
}

static void hide_typing(void)
{
    terminal.hidden = true;
    change_terminal();
}

static void show_typing(void)
{
    terminal.hidden = false;
    change_terminal();
}

/* ---- 5. Editor ------------------------------------------------------------------------------ */

#ifdef LINE_EDITING

static const char editing_help[] =
    "On a terminal a line can be edited; Up brings back those typed before.";

/* The line that is typed, while the terminal is `edited`: readline has its text, and draws it. */
struct editor {
    struct client *client;
    bool able;                       /* lines are edited whenever we have the terminal */
    bool drawn;                      /* the line is on the screen */
    size_t prompt;                   /* bytes of what waits for the screen: they stand before it */
    bool held_up;                    /* a key waits until the terminal takes what it draws */
    int width;                       /* the screen's, when the line was drawn */
    int height;                      /* likewise */
    bool scrolled;                   /* the line is higher than that: one row shows some of it */
    volatile sig_atomic_t rows_left; /* from the cursor's row to the one below the line */

    size_t keys_length;         /* bytes of what follows */
    char keys[MAX_KEY];         /* the beginning of a key */
    const char *next;           /* what readline reads next */
    size_t left;                /* bytes of it */
    rl_command_func_t *command; /* what a key stands for */
    size_t secret_length;       /* bytes of what follows */
    char secret[LONG_LINE];     /* what is typed while it is not shown: kept from readline */
};

static struct editor editor;

/* What the line that was typed, and the end of input, lead to: section 8. */
static void on_typed(struct client *client, const char *piece, size_t length);
static void end_input(struct client *client);

/* A place on the screen, counted from where the line, with its prompt, begins. */
struct place {
    int row;
    int column;
};

/* Follows the cursor as it writes a text; a wide character that does not fit goes on a new row. */
static void follow(struct place *place, const char *text, size_t length, int width)
{
    for (const char *end = text + length; text < end;) {
        size_t n = character_length(*text);
        uint32_t code;
        bool good = n > 0 && n <= (size_t)(end - text) && decode(text, n, &code);
        int columns = good ? wcwidth((wchar_t)code) : 1;
        if (*text == '\t')
            columns = 8 - place->column % 8;
        else if (columns < 0)
            columns = 1;
        if (*text != '\t' && place->column + columns > width)
            *place = (struct place){place->row + 1, 0};
        place->column += columns;
        if (place->column >= width)
            *place = (struct place){place->row + 1, place->column - width};
        text += good ? n : 1;
    }
}

/* Where the cursor is after the prompt and some of the line, on a screen of a certain width. */
static struct place place_of(int point, int width)
{
    struct place place = {0, 0};
    follow(&place, rl_prompt, strlen(rl_prompt), width);
    follow(&place, rl_line_buffer, (size_t)point, width);
    return place;
}

/* Whether the line, and the cursor behind it, are higher than the screen. */
static bool is_tall(void)
{
    return place_of(rl_end, editor.width).row >= editor.height;
}

/* Notes how to get from the cursor to the row below the line, for when there is no time for it. */
static void note_rows(void)
{
    struct place end = place_of(rl_end, editor.width);
    if (editor.scrolled)
        editor.rows_left = 1;
    else
        editor.rows_left = end.row - place_of(rl_point, editor.width).row + (end.column > 0);
}

/* The bytes of the first character of a text, which is not empty; of a spoilt one, 1. */
static size_t bytes_of(const char *text)
{
    size_t length = character_length(*text);
    return length > 0 && strnlen(text, length) == length ? length : 1;
}

/* The columns that it takes, at most. */
static int columns_of(const char *text)
{
    struct place place = {0, 0};
    follow(&place, text, bytes_of(text), INT_MAX);
    return place.column;
}

/* Draws what is around the cursor, in one row. */
static void draw_row(void)
{
    char *text;
    int columns = 0;
    if (asprintf(&text, "%s%s", rl_prompt, rl_line_buffer) < 0)
        return;
    char *cursor = text + strlen(rl_prompt) + rl_point;
    char *start = cursor;
    char *end = cursor;
    while (start > text) {
        char *last = start - 1;
        while (last > text && ((unsigned char)*last & 0xC0) == 0x80)
            last--;
        columns += columns_of(last);
        if (columns > editor.width * 2 / 3)
            break;
        start = last;
    }
    columns = 0;
    for (char *next = start; next < cursor; next += bytes_of(next))
        columns += columns_of(next);
    while (*end && (columns += columns_of(end)) < editor.width)
        end += bytes_of(end);
    printf("\r%.*s\033[K\r%.*s", (int)(end - start), start, (int)(cursor - start), start);
    fflush(stdout);
    free(text);
}

/* Draws the line as readline does; of one that is higher than the screen, a row. */
static void redisplay(void)
{
    bool changes = is_tall() != editor.scrolled;
    if (changes && editor.drawn)
        rl_clear_visible_line();
    editor.scrolled = is_tall();
    if (editor.scrolled) {
        rl_on_new_line();
        draw_row();
    } else if (changes) {
        rl_forced_update_display(); /* and so comes here again */
    } else {
        rl_redisplay();
    }
}

/* Takes it that nothing is drawn, and that the prompt is to be shown again. */
static void abandon_line(void)
{
    editor.drawn = false;
    editor.prompt = 0;
    editor.rows_left = 0;
}

/* Takes the line off the screen. */
static void take_off(void)
{
    if (editor.drawn) {
        rl_clear_visible_line();
        fflush(stdout);
    }
    abandon_line();
}

/* Makes what stands before the line readline's prompt; a TAB becomes blanks, as on the screen. */
static void set_prompt(const char *text, size_t length)
{
    char prompt[8 * MAX_PROMPT + 1];
    char *out = prompt;
    struct place place = {0, 0};
    for (const char *end = text + length; text < end;) {
        size_t n = character_length(*text);
        n = n > 0 && n <= (size_t)(end - text) ? n : 1;
        size_t blanks = *text == '\t' ? 8 - (size_t)place.column % 8 : 0;
        follow(&place, text, n, INT_MAX);
        out = mempcpy(out, blanks > 0 ? "        " : text, blanks > 0 ? blanks : n);
        text += n;
    }
    *out = '\0';
    rl_set_prompt(prompt);
}

/* Draws the line in the cursor's row, behind the server's unfinished line, its prompt. */
static void draw_line(struct client *client)
{
    putchar('\r');
    rl_reset_screen_size();
    rl_get_screen_size(&editor.height, &editor.width);
    set_prompt(client->screen.bytes, client->screen.length);
    rl_forced_update_display();
    editor.prompt = client->screen.length;
    editor.drawn = true;
    note_rows();
}

/* How much there is that was not shown yet. */
static size_t unshown(const struct client *client)
{
    return client->screen.length - editor.prompt;
}

/* Whether the screen is not yet as it should be. */
static bool must_show(const struct client *client)
{
    return unshown(client) > 0 || (terminal.edited && (!editor.drawn || editor.held_up));
}

/* Writes some of what waits for the screen, above the line that is typed; then draws that again. */
static bool update_screen(struct client *client)
{
    struct queue *screen = &client->screen;
    if (!terminal.edited)
        return write_screen(client, screen->length);
    editor.held_up = false;
    take_off();
    if (whole_lines(screen) == 0 && screen->length > MAX_PROMPT) /* no prompt is that long */
        put(screen, "\n", 1);
    if (whole_lines(screen) > 0 && !write_screen(client, whole_lines(screen)))
        return false;
    if (whole_lines(screen) == 0 && screen->length <= MAX_PROMPT)
        draw_line(client);
    return true;
}

/* The server says no more: its unfinished line becomes one that is shown, not a prompt. */
static void finish_line(struct client *client)
{
    const struct queue *screen = &client->screen;
    if (terminal.edited && screen->length > whole_lines(screen))
        put(&client->screen, "\n", 1);
}

/* Another server, or another connection, has its own prompts. */
static void forget_prompt(struct client *client)
{
    if (!terminal.edited)
        return;
    take_off();
    client->screen.length = whole_lines(&client->screen);
}

/* Draws the line anew where the window has another size. */
static void on_resized(void)
{
    int rows, width;
    if (!editor.drawn)
        return;
    rl_reset_screen_size();
    rl_get_screen_size(&rows, &width);
    /* Whether the terminal has wrapped the rows anew is its secret; above them is the chat. */
    int before = place_of(rl_point, editor.width).row;
    int after = place_of(rl_point, width).row;
    int up = editor.scrolled ? 0 : before < after ? before : after;
    putchar('\r');
    for (int i = 0; i < up; i++)
        fputs("\033[A", stdout);
    fputs("\033[J", stdout);
    fflush(stdout);
    abandon_line();
}

/* Whether the terminal takes output: it may be held up when there is no time to wait. */
static bool is_writable(void)
{
    return is_ready(STDOUT_FILENO, POLLOUT);
}

/* Puts the cursor below the line, which stays; a signal handler may call it. */
static void leave_line(void)
{
    if (!terminal.edited || !is_writable())
        return;
    for (; editor.rows_left > 0; editor.rows_left--)
        if (write(STDOUT_FILENO, "\n", 1) < 0)
            return;
}

/* Begins to edit, or takes it up again. */
static void start_editing(struct client *client)
{
    terminal.edited = editor.able && !client->typed_all;
    change_terminal();
}

/* Leaves the line, and gives the terminal back; the prompt is to be shown again. */
static void stop_editing(struct client *client)
{
    if (!terminal.edited)
        return;
    if (!editor.drawn && whole_lines(&client->screen) == 0 && is_writable())
        draw_line(client);
    leave_line();
    abandon_line();
    terminal.edited = false;
    change_terminal();
}

/* Leaves nothing of what was typed unseen. */
static void forget_secret(void)
{
    explicit_bzero(editor.secret, sizeof editor.secret);
    editor.secret_length = 0;
}

/* Begins the line anew, with what was typed unseen where that is `kept`. */
static void begin_line(bool kept)
{
    if (!editor.able)
        return;
    rl_delete_text(0, rl_end);
    rl_point = 0;
    editor.secret[editor.secret_length] = '\0';
    if (kept)
        rl_insert_text(editor.secret);
    else
        editor.keys_length = 0;
    forget_secret();
}

/* Adds a line to the history, unless it is an answer to a prompt, or may have a password in it. */
static void keep_line(const struct client *client, const char *text)
{
    struct line line = {0};
    const HIST_ENTRY *last = history_get(history_base + history_length - 1);
    append(&line, text, strlen(text));
    bool secret = client->phase == ASKED || client->forgets || password_command(&line) > 0;
    if (!secret && line.length > 0 && !(last && strcmp(last->line, text) == 0))
        add_history(text);
    using_history();
}

/* Passes on a line; with Enter, it and its prompt have become lines of the screen. */
static void on_entered(char *text)
{
    struct client *client = editor.client;
    char line[MAX_TYPED + 1];
    const char *typed = terminal.hidden ? editor.secret : text;
    size_t length = terminal.hidden ? editor.secret_length : strlen(text);
    *(char *)mempcpy(line, typed, length) = '\n';
    if (!terminal.hidden)
        keep_line(client, text);
    take(&client->screen, (ssize_t)editor.prompt);
    editor.prompt = 0;
    rl_set_prompt("");
    forget_secret();
    free(text);
    on_typed(client, line, length + 1);
    explicit_bzero(line, sizeof line);
}

/* What readline gets in place of a terminal. */
static int next_byte(FILE *file)
{
    (void)file;
    editor.left--;
    return (unsigned char)*editor.next++;
}

static int has_next_byte(void)
{
    return editor.left > 0;
}

/* Lets readline have what stands for one key. */
static void feed(const char *bytes, size_t length)
{
    editor.next = bytes;
    editor.left = length;
    while (editor.left > 0)
        rl_callback_read_char();
}

/* Enter: the cursor goes to the row below, where the line is empty too, unlike readline's. */
static int enter_line(int count, int key)
{
    if (is_tall()) { /* all of it is shown now */
        rl_clear_visible_line();
        printf("%s%s\n", rl_prompt, rl_line_buffer);
        rl_done = 1;
        return 0;
    }
    if (!*rl_prompt && rl_end == 0)
        putchar('\n');
    return rl_newline(count, key);
}

/* What each key that is no text does: all others do nothing. */
struct key {
    const char *bytes;
    rl_command_func_t *command;
};

static const struct key keys[] = {
    {"\r", enter_line},
    {"\n", enter_line},
    {"\b", rl_rubout},
    {"\177", rl_rubout},
    {"\001", rl_beg_of_line}, /* Ctrl+A */
    {"\002", rl_backward_char},
    {"\004", rl_delete},
    {"\005", rl_end_of_line},
    {"\006", rl_forward_char},
    {"\013", rl_kill_line}, /* Ctrl+K */
    {"\014", rl_clear_screen},
    {"\016", rl_get_next_history}, /* Ctrl+N */
    {"\020", rl_get_previous_history},
    {"\025", rl_unix_line_discard}, /* Ctrl+U */
    {"\027", rl_unix_word_rubout},
    {"\031", rl_yank},
    {"\033b", rl_backward_word}, /* Alt+B */
    {"\033f", rl_forward_word},
    {"\033[A", rl_get_previous_history}, /* Up, and so on; terminals differ */
    {"\033[B", rl_get_next_history},
    {"\033[C", rl_forward_char},
    {"\033[D", rl_backward_char},
    {"\033OA", rl_get_previous_history},
    {"\033OB", rl_get_next_history},
    {"\033OC", rl_forward_char},
    {"\033OD", rl_backward_char},
    {"\033[1;5C", rl_forward_word}, /* Ctrl+Right */
    {"\033[1;5D", rl_backward_word},
    {"\033Oc", rl_forward_word},
    {"\033Od", rl_backward_word},
    {"\033[H", rl_beg_of_line}, /* Home */
    {"\033OH", rl_beg_of_line},
    {"\033[1~", rl_beg_of_line},
    {"\033[7~", rl_beg_of_line},
    {"\033[F", rl_end_of_line}, /* End */
    {"\033OF", rl_end_of_line},
    {"\033[4~", rl_end_of_line},
    {"\033[8~", rl_end_of_line},
    {"\033[3~", rl_delete},
};

/* What a key does, or NULL where it may be text. */
static rl_command_func_t *find_command(const char *key, size_t length)
{
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strlen(keys[i].bytes) == length && memcmp(keys[i].bytes, key, length) == 0)
            return keys[i].command;
    return NULL;
}

/* All keys that do something but insert text come to readline as one. */
static int run_command(int count, int key)
{
    return editor.command(count, key);
}

/* The length of an escape sequence, as far as it is one; 0 where it may not be whole yet. */
static size_t sequence_length(const char *key, size_t left)
{
    size_t length = 2;
    if (left > 2 && key[2] == '[') /* F1 to F5 of Linux's own screen */
        return left > 3 ? 4 : 0;
    while (length < left && key[length] >= ' ' && key[length] < '@')
        length++;
    if (length == left)
        return left < MAX_KEY ? 0 : left;
    return key[length] >= '@' && key[length] <= '~' ? length + 1 : length;
}

/* The length of the first of the keys that were typed; 0 where it may not be whole yet. */
static size_t key_length(const char *key, size_t left)
{
    size_t length = character_length(*key);
    if (*key == '\033') {
        if (left == 1)
            return 0;
        if (key[1] == 'O')
            return left > 2 ? 3 : 0;
        if (key[1] == '[')
            return sequence_length(key, left);
        if ((unsigned char)key[1] < ' ') /* Esc, and then a key of its own */
            return 1;
        length = 1 + character_length(key[1]);
    }
    for (size_t i = 1; i < length; i++) {
        if (i == left)
            return 0;
        if (((unsigned char)key[i] & 0xC0) != 0x80 && *key != '\033')
            return i;
    }
    return length > 0 ? length : 1;
}

/* Whether a key inserts text. */
static bool is_text(const char *key, size_t length)
{
    uint32_t code;
    bool good = character_length(*key) == length && decode(key, length, &code);
    return good && !is_control(code);
}

/* Adds a key to what is not shown. */
static void type_unseen(const char *key, size_t length)
{
    char *end = editor.secret + editor.secret_length;
    if (find_command(key, length) == rl_rubout) {
        while (end > editor.secret && ((unsigned char)*--end & 0xC0) == 0x80)
            continue;
    } else if (find_command(key, length) == rl_unix_line_discard) {
        end = editor.secret;
    } else if (is_text(key, length) && editor.secret_length + length < sizeof editor.secret) {
        end = mempcpy(end, key, length);
    }
    editor.secret_length = (size_t)(end - editor.secret);
}

/* Keeps within bounds a line that grows by Ctrl+Y. */
static void shorten_line(void)
{
    int end = MAX_TYPED - 1;
    if (rl_end <= end)
        return;
    while (((unsigned char)rl_line_buffer[end] & 0xC0) == 0x80)
        end--;
    rl_delete_text(end, rl_end);
    rl_point = rl_point < end ? rl_point : end;
    redisplay();
}

/* Ends the input, as Ctrl+D on an empty line does; from here on all is shown plainly. */
static void close_editor(struct client *client)
{
    size_t prompt = editor.prompt;
    stop_editing(client);
    take(&client->screen, (ssize_t)prompt);
    end_input(client);
}

/* Does what a key wants. */
static void press(struct client *client, const char *key, size_t length)
{
    editor.command = find_command(key, length);
    bool enters = editor.command == enter_line;
    if (*key == '\004' && rl_end + (int)editor.secret_length == 0)
        close_editor(client);
    else if (terminal.hidden && !enters)
        type_unseen(key, length);
    else if (editor.command)
        feed("\001", 1);
    else if (is_text(key, length) && rl_end + (int)length < MAX_TYPED)
        feed(key, length);
    shorten_line();
}

/* Takes what was typed, key by key. */
static void on_keys(struct client *client)
{
    if (!editor.drawn) /* the line is not there to be seen */
        return;
    editor.held_up = !is_writable();
    if (editor.held_up)
        return;
    ssize_t n = read(STDIN_FILENO, editor.keys + editor.keys_length, MAX_KEY - editor.keys_length);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        close_editor(client);
        return;
    }
    editor.keys_length += (size_t)n;
    char *key = editor.keys;
    char *end = key + editor.keys_length;
    size_t length;
    for (; key < end && terminal.edited && (length = key_length(key, (size_t)(end - key))) > 0;
         key += length)
        press(client, key, length);
    editor.keys_length = (size_t)(end - key);
    memmove(editor.keys, key, editor.keys_length);
    note_rows();
}

/* readline is to know our keys alone, and leaves terminal and environment to us. */
static void prepare_editor(struct client *client)
{
    const char *term = getenv("TERM");
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || !term || !*term ||
        strcmp(term, "dumb") == 0)
        return;
    if (setlocale(LC_CTYPE, "C.UTF-8")) /* readline goes by the environment */
        setenv("LC_ALL", "C.UTF-8", 1);
    setenv("INPUTRC", "/dev/null", 1);
    rl_catch_signals = 0;
    rl_catch_sigwinch = 0;
    rl_change_environment = 0;
    rl_prep_term_function = NULL;
    rl_deprep_term_function = NULL;
    rl_getc_function = next_byte;
    rl_input_available_hook = has_next_byte;
    rl_initialize();
    if (!rl_get_termcap("up")) /* one that terminfo does not know */
        rl_reset_terminal("xterm");
    rl_redisplay_function = redisplay; /* not before: readline would take it that all is ours */
    rl_get_screen_size(&editor.height, &editor.width);
    rl_variable_bind("bell-style", "none");
    rl_variable_bind("revert-all-at-newline", "on");
    rl_set_keymap(rl_make_keymap());
    rl_bind_key('\t', rl_insert);
    rl_bind_key('\001', run_command);
    rl_tty_set_echoing(1);
    stifle_history(HISTORY);
    rl_callback_handler_install("", on_entered);
    editor.client = client;
    editor.able = true;
}

#else

static const char editing_help[] =
    "To edit lines, build it so: gcc -DLINE_EDITING -o chat_client client.c -lreadline";

/* Lines are as the terminal gives them, and nothing has to be drawn. */

static size_t unshown(const struct client *client)
{
    return client->screen.length;
}

static bool must_show(const struct client *client)
{
    return unshown(client) > 0;
}

static bool update_screen(struct client *client)
{
    return write_screen(client, client->screen.length);
}

static void start_editing(const struct client *client)
{
    (void)client;
    change_terminal();
}

static void stop_editing(const struct client *client)
{
    (void)client;
}

static void prepare_editor(const struct client *client)
{
    (void)client;
}

static void on_keys(const struct client *client)
{
    (void)client;
}

static void finish_line(const struct client *client)
{
    (void)client;
}

static void forget_prompt(const struct client *client)
{
    (void)client;
}

static void begin_line(bool kept)
{
    (void)kept;
}

static void take_off(void)
{
}

static void abandon_line(void)
{
}

static void leave_line(void)
{
}

static void on_resized(void)
{
}

#endif

/* From here on what is typed is a password (HIDE-1); what is half typed is none. */
static void begin_secret(void)
{
    if (!terminal.hidden)
        begin_line(false);
    hide_typing();
}

/*
 * Drops what is half typed of a password. What the terminal has given of a line that is not whole
 * was not sent (`ready`), and so need not be taken back.
 */
static void drop_secret(struct client *client)
{
    size_t whole = whole_lines(&client->outbox);
    begin_line(false);
    drop_input();
    if (terminal.changed && client->unfinished) {
        client->outbox.length = whole > client->link.sent ? whole : client->link.sent;
        client->typed.length = 0;
        client->unfinished = false;
    }
}

/* ... and now it is not any more; what is half typed is no part of one if we are `welcomed`. */
static void end_secret(struct client *client, bool welcomed)
{
    if (terminal.hidden && welcomed)
        begin_line(true);
    else if (terminal.hidden)
        drop_secret(client);
    show_typing();
}

/* Says something of our own. */
static void __attribute__((format(printf, 1, 2))) say(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    take_off();
    vfprintf(stderr, format, arguments);
    va_end(arguments);
}

/* ---- 6. Connection -------------------------------------------------------------------------- */

static _Noreturn void cannot_connect(const struct options *options, const char *reason)
{
    bool ipv6 = strchr(options->host, ':');
    fprintf(stderr, "cannot connect to %s%s%s:%s: %s\n", ipv6 ? "[" : "", options->host,
            ipv6 ? "]" : "", options->port, reason);
    exit(EXIT_FAILURE);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Small lines go out without delay; a server that vanishes is noticed within two minutes. */
static void prepare(int fd)
{
    static const int options[][3] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},   {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, 60}, {IPPROTO_TCP, TCP_KEEPINTVL, 15},
        {IPPROTO_TCP, TCP_KEEPCNT, 4},   {IPPROTO_TCP, TCP_USER_TIMEOUT, 120000},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        setsockopt(fd, options[i][0], options[i][1], &options[i][2], sizeof(int));
}

/* Waits for a connection that is being made; gives an error, EINTR where a signal comes first. */
static int await_connection(int fd, int wake)
{
    struct pollfd wanted[] = {{.fd = fd, .events = POLLOUT}, {.fd = wake, .events = POLLIN}};
    int error = 0;
    int ready = -1;
    while (ready < 0)
        ready = poll(wanted, 2, TRY_SECONDS * 1000);
    if (wanted[1].revents)
        return EINTR;
    if (ready == 0)
        return ETIMEDOUT;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error});
    return error;
}

/* Connects to one address; -1 where that fails, errno tells why. */
static int connect_one(const struct addrinfo *address, int wake)
{
    int type = address->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK;
    int fd = socket(address->ai_family, type, address->ai_protocol);
    if (fd < 0)
        return -1;
    prepare(fd);
    int error = connect(fd, address->ai_addr, address->ai_addrlen) < 0 ? errno : 0;
    if (error == EINPROGRESS)
        error = await_connection(fd, wake);
    if (error) {
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/*
 * Connects to the first address of the host that answers; gives -1, and why, if none does, or
 * -1 and NULL where a signal comes first.
 */
static int connect_to(const struct options *options, int wake, const char **reason)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses;
    int fd = -1;
    int error = getaddrinfo(options->host, options->port, &hints, &addresses);
    if (error) {
        *reason = error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error);
        return -1;
    }
    errno = 0;
    for (const struct addrinfo *a = addresses; a && fd < 0 && errno != EINTR; a = a->ai_next)
        fd = connect_one(a, wake);
    *reason = errno == EINTR ? NULL : strerror(errno);
    freeaddrinfo(addresses);
    return fd;
}

/* Whether the connection was lost, and we are not back yet: what is typed is kept. */
static bool is_away(const struct client *client)
{
    return client->phase == AWAY || client->phase == RETURNING;
}

/* How much of what waits may be sent: of a password on a terminal, whole lines. */
static size_t ready(const struct client *client)
{
    bool halves = !terminal.hidden || !terminal.changed;
    return halves ? client->outbox.length : whole_lines(&client->outbox);
}

/* Whether something waits that can be sent. */
static bool has_unsent(const struct client *client)
{
    const struct link *link = &client->link;
    bool may_send = client->phase != AWAY && !link->broken && !link->ended;
    return may_send && link->sent < ready(client);
}

/* Whether it is time to end our side. */
static bool has_said_all(const struct client *client)
{
    const struct link *link = &client->link;
    bool may_end = !is_away(client) && !link->broken && !link->ended && !link->sent_all;
    return may_end && client->typed_all && client->outbox.length == 0 && client->kept.length == 0;
}

/*
 * Takes out of the outbox the lines that are sent. A line of which only a part is sent stays: it
 * is none for the server before its end comes. Of one that is too long the beginning is enough:
 * it will be refused again.
 */
static void forget_sent(struct client *client)
{
    struct queue *outbox = &client->outbox;
    size_t *sent = &client->link.sent;
    const char *end = memrchr(outbox->bytes, '\n', *sent);
    size_t whole = end ? (size_t)(end - outbox->bytes) + 1 : 0;
    take(outbox, (ssize_t)whole);
    *sent -= whole;
    if (*sent > LONG_LINE) {
        outbox->length -= *sent - LONG_LINE;
        memmove(outbox->bytes + LONG_LINE, outbox->bytes + *sent, outbox->length - LONG_LINE);
        *sent = LONG_LINE;
    }
}

/* Sends what was typed, as far as the kernel takes it; after the end of input, ends our side. */
static void send_typed(struct client *client)
{
    struct link *link = &client->link;
    if (has_unsent(client)) {
        size_t left = ready(client) - link->sent;
        ssize_t n = send(link->fd, client->outbox.bytes + link->sent, left, MSG_NOSIGNAL);
        if (n < 0) /* what the server said before it went can still be read */
            link->broken = errno != EAGAIN && errno != EINTR;
        else
            link->sent += (size_t)n;
        forget_sent(client);
    }
    if (has_said_all(client)) {
        link->broken = shutdown(link->fd, SHUT_WR) < 0;
        link->sent_all = !link->broken;
    }
}

/*
 * Ends our side, and discards what comes until the server ends its own: to close a connection
 * with something unread in it would reset it.
 */
static void close_in_order(int fd)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    char bytes[READ_SIZE];
    int64_t left = CLOSE_SECONDS * 1000;
    int64_t end = now_ms() + left;
    if (shutdown(fd, SHUT_WR) < 0)
        return;
    for (; left > 0; left = end - now_ms()) {
        poll(&wanted, 1, (int)left);
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return;
    }
}

/* ---- 7. From the server --------------------------------------------------------------------- */

/* What follows from what the server says: sections 8 and 9. */
static void pass_on(struct client *client, const char *bytes, size_t length);
static bool nobody_to_ask(const struct client *client);
static void answer_prompt(struct client *client);
static void come_back(struct client *client, const struct line *line, const struct line *welcomed);
static int lose(struct client *client);

/* How much of the start of a line may be a name (JOIN-2). */
static size_t name_length(const struct line *line)
{
    size_t length = 0;
    while (length < line->length &&
           memchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-",
                  line->bytes[length], 64))
        length++;
    return length;
}

/* Whether a line is the welcome, and of whom. */
static bool is_welcome(struct line line, struct line *name)
{
    if (!skip_text(&line, WELCOME))
        return false;
    *name = line;
    name->length = name_length(&line);
    skip(&line, name->length);
    return name->length > 0 && begins(&line, " (");
}

/* Whether a line tells of a new name for one who had the old one. */
static bool is_rename(struct line line, const struct line *old, struct line *new)
{
    struct line first = line;
    first.length = name_length(&line);
    skip(&line, first.length);
    if (!same_line(&first, old) || !skip_text(&line, " is now known as "))
        return false;
    *new = line;
    return line.length > 0 && name_length(&line) == line.length;
}

/*
 * Takes the prompts off the front of the line; tells whether there was one. The user's line end,
 * which ends a prompt on the screen, is not sent back by the server. Nobody in the room can say
 * what looks like a prompt: no one is called Password.
 */
static bool take_prompts(struct link *link)
{
    static const char *const prompts[] = {PROMPT, PASSWORD_PROMPT};
    size_t before = link->prompts;
    for (size_t i = 0; i < sizeof prompts / sizeof *prompts; i++) {
        while (skip_text(&link->line, prompts[i])) {
            link->prompts++;
            link->asked = prompts[i];
        }
    }
    return link->prompts > before;
}

/* Whether the last prompt is the one for a password. */
static bool asks_password(const struct link *link)
{
    return link->asked && strcmp(link->asked, PASSWORD_PROMPT) == 0;
}

/* Whether a line was typed for the last prompt, as for those before it. */
static bool is_answered(const struct link *link)
{
    return link->prompts <= link->answered;
}

/* Answers as --name says, the first time on each connection, until it is refused (CLIENT-8). */
static void give_name(struct client *client)
{
    const char *name = client->answer;
    if (client->link.named) {
        client->answer = NULL;
        return;
    }
    client->link.named = true;
    pass_on(client, name, strlen(name));
    pass_on(client, "\n", 1);
    show(client, name, strlen(name), false);
    show(client, "\n", 1, false);
}

/* Sees to it that the prompt that is pending is answered. */
static void on_prompt(struct client *client)
{
    if (client->phase == RETURNING && client->name.length > 0) {
        answer_prompt(client);
        return;
    }
    if (client->phase == RETURNING) { /* the name is asked anew */
        client->phase = ASKED;
        show(client, client->link.asked, strlen(client->link.asked), false);
    }
    if (client->answer && !asks_password(&client->link))
        give_name(client);
}

/* Is welcomed: remembers what let us in, and sends what was kept. */
static void enter(struct client *client, const struct line *name)
{
    struct link *link = &client->link;
    if (client->phase == ASKED && asks_password(link) && is_answered(link)) {
        client->password = link->answers[link->prompts - 1];
        client->has_password = true;
    }
    link->answered = 0;
    client->name = *name;
    client->answer = NULL;
    client->phase = JOINED;
    client->tries = 0;
    end_secret(client, true);
    pass_on(client, client->kept.bytes, client->kept.length);
    client->kept.length = 0;
}

/* Learns of a new name, or a new password, of ours. */
static void follow_name(struct client *client, const struct line *line)
{
    struct line rest = *line;
    struct line new;
    if (is_rename(*line, &client->name, &new)) {
        client->name = new;
    } else if (line_is(line, "Password changed") ||
               (skip_text(&rest, "Registered ") && same_line(&rest, &client->name))) {
        client->password = client->offered;
        client->has_password = client->offered.length > 0;
    }
}

/* Follows what happens to us by the server's whole lines. */
static void on_line(struct client *client, const struct line *line)
{
    struct line name;
    bool welcomed = is_welcome(*line, &name);
    if (client->phase == RETURNING)
        come_back(client, line, welcomed ? &name : NULL);
    else if (client->phase == ASKED && welcomed)
        enter(client, &name);
    else if (client->phase == JOINED)
        follow_name(client, line);
}

/* Sees to it that a password, and nothing else, is not shown as it is typed. */
static void guard_typing(struct client *client)
{
    if (asks_password(&client->link))
        begin_secret();
    else
        end_secret(client, false);
}

/* Shows a line, or a piece of one, and takes its meaning; on the way back, that comes first. */
static void on_server(struct client *client, const char *piece, size_t length)
{
    struct link *link = &client->link;
    bool whole = piece[length - 1] == '\n';
    if (client->phase != RETURNING)
        show(client, piece, length, false);
    append(&link->line, piece, whole ? length - 1 : length);
    bool prompted = client->phase != JOINED && take_prompts(link);
    if (whole) {
        link->last = link->line;
        if (link->last.length > 0 && link->last.bytes[link->last.length - 1] == '\r')
            link->last.length--;
        link->line.length = 0;
        on_line(client, &link->last);
    } else if (prompted && link->line.length == 0) {
        on_prompt(client);
    }
    if (prompted && client->phase == ASKED)
        guard_typing(client);
}

/* Receives once from the server. */
static void receive(struct client *client)
{
    struct link *link = &client->link;
    char bytes[READ_SIZE];
    ssize_t n = recv(link->fd, bytes, sizeof bytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    size_t left = n > 0 ? (size_t)n : 0;
    for (const char *next = bytes; left > 0 && !link->ended;) {
        size_t length = piece_length(next, left);
        on_server(client, next, length);
        next += length;
        left -= length;
    }
    if (n <= 0) {
        link->broken = link->broken || n < 0;
        link->ended = true;
        show(client, "", 0, true);
        end_secret(client, false);
        if (client->phase != ASKED || link->line.length > 0 || asks_password(link))
            finish_line(client);
    }
}

/* The exit status that the server's last line gives, or -1 where it tells of no ending. */
static int told_status(const struct client *client)
{
    static const char *const bad_endings[] = {"! too many attempts", "! timed out", "! server full",
                                              "! kicked by the operator"};
    const struct line *last = &client->link.last;
    if (line_is(last, "Server is shutting down"))
        return EXIT_SUCCESS;
    if (is_away(client))
        return -1;
    if (begins(last, GOODBYE))
        return EXIT_SUCCESS;
    for (size_t i = 0; i < sizeof bad_endings / sizeof *bad_endings; i++)
        if (line_is(last, bad_endings[i]))
            return EXIT_FAILURE;
    return -1;
}

/*
 * Sees how it ended, as the server's last line tells (CLIENT-5); gives the exit status, or -1
 * where the connection is tried again.
 */
static int ending(struct client *client)
{
    const struct link *link = &client->link;
    int status = told_status(client);
    if (status >= 0) {
        say("Disconnected\n");
        return status;
    }
    if (link->sent_all && !link->broken)
        return EXIT_SUCCESS;
    if (client->options.retries > 0 && !link->sent_all && !nobody_to_ask(client))
        return lose(client);
    say("Connection lost\n");
    return EXIT_FAILURE;
}

/* ---- 8. From the keyboard ------------------------------------------------------------------- */

/* Whether a line is a command with a password in it, and which. */
static bool has_password(struct line line, struct line *password)
{
    size_t length = password_command(&line);
    skip(&line, length);
    while (length > 0 && begins(&line, " "))
        skip(&line, 1);
    *password = line;
    return length > 0 && line.length > 0;
}

/* Keeps a line for as long as it may turn out to be the password that is accepted. */
static void remember(struct client *client, struct line line)
{
    struct link *link = &client->link;
    struct line password;
    if (line.length > 0 && line.bytes[line.length - 1] == '\r')
        line.length--;
    if (client->phase == ASKED && link->answered < MAX_ANSWERS)
        link->answers[link->answered++] = line;
    if (has_password(line, &password))
        client->offered = password;
}

/* Sends lines, or a piece of one. */
static void pass_on(struct client *client, const char *bytes, size_t length)
{
    put(&client->outbox, bytes, length);
    while (length > 0) {
        size_t piece = piece_length(bytes, length);
        bool whole = bytes[piece - 1] == '\n';
        append(&client->typed, bytes, whole ? piece - 1 : piece);
        if (whole) {
            remember(client, client->typed);
            client->typed.length = 0;
        }
        bytes += piece;
        length -= piece;
    }
}

/* Whether a prompt for the name would find no answer, as the input has ended. */
static bool nobody_to_ask(const struct client *client)
{
    return client->typed_all && client->name.length == 0 && !client->answer;
}

/* Puts a line, or a piece of one, where it belongs. */
static void on_typed(struct client *client, const char *piece, size_t length)
{
    struct queue *kept = &client->kept;
    if (client->forgets)
        client->forgets = piece[length - 1] != '\n';
    else if (is_away(client) || (kept->length > 0 && kept->bytes[kept->length - 1] != '\n'))
        put(kept, piece, length);
    else
        pass_on(client, piece, length);
}

/* Takes it that nothing more is typed; away, there may be nothing left to come back for. */
static void end_input(struct client *client)
{
    client->typed_all = true;
    if (is_away(client) && nobody_to_ask(client))
        client->link.ended = true;
}

/* Passes on what was typed, as it comes; an unfinished last line gets its end (CLIENT-1). */
static void on_keyboard(struct client *client)
{
    char bytes[READ_SIZE];
    ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    size_t left = n > 0 ? (size_t)n : 0;
    if (n <= 0 && client->unfinished)
        bytes[left++] = '\n';
    client->unfinished = left > 0 && bytes[left - 1] != '\n';
    for (const char *next = bytes; left > 0;) {
        size_t length = piece_length(next, left);
        on_typed(client, next, length);
        next += length;
        left -= length;
    }
    if (n <= 0)
        end_input(client);
}

/* ---- 9. Away and back ----------------------------------------------------------------------- */

/*
 * Keeps what was typed and not sent, unless it was for prompts: they are not asked again. The
 * same holds for the rest of an answer, or for a password, that has not been typed yet.
 */
static void keep_unsent(struct client *client)
{
    const struct link *link = &client->link;
    if (client->phase == JOINED)
        put(&client->kept, client->outbox.bytes, client->outbox.length);
    else if (client->phase == ASKED)
        client->forgets = client->typed.length > 0 || (asks_password(link) && !is_answered(link));
    client->outbox.length = 0;
    client->typed.length = 0;
}

/* Says how soon and how often it is tried again; the delay without needless zeros. */
static void announce_try(const struct client *client)
{
    char delay[32];
    int length = snprintf(delay, sizeof delay, "%.9f", client->delay);
    while (delay[length - 1] == '0')
        delay[--length] = '\0';
    if (delay[length - 1] == '.')
        delay[--length] = '\0';
    say("Connection lost, retrying in %s s (%d of %d)\n", delay, client->tries,
        client->options.retries);
}

/*
 * Begins to wait for the next try (BACK-1), and gives -1, or the exit status where there was
 * the last one.
 */
static int lose(struct client *client)
{
    close(client->link.fd);
    client->link.fd = -1;
    client->link.ended = false;
    if (client->tries == client->options.retries) {
        say("Giving up after %d attempts\n", client->tries);
        return EXIT_FAILURE;
    }
    client->delay = client->tries > 0 ? client->delay * 2 : client->options.retry_delay;
    if (client->delay > MAX_RETRY_SECONDS)
        client->delay = MAX_RETRY_SECONDS;
    client->tries++;
    announce_try(client);
    keep_unsent(client);
    client->phase = AWAY;
    client->deadline = now_ms() + (int64_t)(client->delay * 1000 + 1);
    return -1;
}

/* Connects once more. */
static void try_again(struct client *client)
{
    const char *reason;
    int fd = connect_to(&client->options, client->wake, &reason);
    if (fd < 0) {
        client->link.ended = reason != NULL;
        return;
    }
    client->link = (struct link){.fd = fd};
    forget_prompt(client);
    client->phase = RETURNING;
    client->deadline = now_ms() + TRY_SECONDS * 1000;
}

/* Ends a try that did not bring us back. */
static void refuse(struct client *client)
{
    close_in_order(client->link.fd);
    client->link.ended = true;
}

/* Answers in the user's place, each prompt once; any other makes it a failed try. */
static void answer_prompt(struct client *client)
{
    const struct link *link = &client->link;
    const struct line *answer = NULL;
    if (link->prompts == 1 && !asks_password(link))
        answer = &client->name;
    else if (link->prompts == 2 && asks_password(link) && client->has_password)
        answer = &client->password;
    if (!answer) {
        refuse(client);
        return;
    }
    put(&client->outbox, answer->bytes, answer->length);
    put(&client->outbox, "\n", 1);
}

/* Takes a line of the server's on the way back: the welcome, a refusal, or something to show. */
static void come_back(struct client *client, const struct line *line, const struct line *welcomed)
{
    if (welcomed && same_line(welcomed, &client->name)) {
        say("Reconnected as %.*s\n", (int)welcomed->length, welcomed->bytes);
        enter(client, welcomed);
        return;
    }
    if (line->length > 0 && !welcomed) {
        show(client, line->bytes, line->length, false);
        show(client, "\n", 1, false);
    }
    if (welcomed || begins(line, "! "))
        refuse(client);
}

/* Tries again, or ends a try that takes too long. */
static void on_deadline(struct client *client)
{
    if (client->phase == AWAY)
        try_again(client);
    else
        refuse(client);
}

/* ---- 10. Loop ------------------------------------------------------------------------------- */

/*
 * Whether the server is read: on the way back, only where what we say comes last, and where lines
 * are edited, only once all that came is on the screen, lest a flood keep the keys from it.
 */
static bool may_hear(const struct client *client)
{
    size_t most = client->phase == RETURNING || terminal.edited ? 1 : MAX_WAITING;
    return client->phase != AWAY && !client->link.ended && unshown(client) < most;
}

/*
 * Whether standard input is read: not before the name that --name gives was sent, and where lines
 * are edited, not before all that came is on the screen.
 */
static bool may_type(const struct client *client)
{
    const struct link *link = &client->link;
    size_t waiting = client->outbox.length + client->kept.length;
    if (client->typed_all || link->ended || waiting >= MAX_WAITING)
        return false;
    if (terminal.edited && must_show(client))
        return false;
    return is_away(client) || (!link->broken && (!client->answer || link->named));
}

/* Milliseconds until the next try is due, or has taken too long; -1 where there is none. */
static int until_deadline(const struct client *client)
{
    int64_t left = client->deadline - now_ms();
    if (!is_away(client) || client->link.ended)
        return -1;
    return left > 0 ? (int)left : 0;
}

enum source { WAKE, SERVER, KEYBOARD, SCREEN, SOURCES };

/* Waits until something can be done, and tells what; poll passes over a descriptor of -1. */
static void wait_for_work(const struct client *client, struct pollfd work[SOURCES])
{
    bool hears = may_hear(client);
    bool sends = has_unsent(client);
    work[WAKE] = (struct pollfd){.fd = client->wake, .events = POLLIN};
    work[SERVER] = (struct pollfd){.fd = hears || sends ? client->link.fd : -1};
    work[SERVER].events = (short)((hears ? POLLIN : 0) | (sends ? POLLOUT : 0));
    work[KEYBOARD] = (struct pollfd){.fd = may_type(client) ? STDIN_FILENO : -1, .events = POLLIN};
    work[SCREEN] = (struct pollfd){.fd = must_show(client) ? STDOUT_FILENO : -1, .events = POLLOUT};
    while (poll(work, SOURCES, until_deadline(client)) < 0)
        continue;
}

/* Takes the terminal; or, in the background, leaves it as others have made it. */
static void take_terminal(struct client *client)
{
    terminal.edited = false;
    if (in_background())
        terminal.changed = false;
    else
        start_editing(client);
}

/* Stops as the user wishes (Ctrl+Z), and goes on once that is wished too. */
static void stop_process(struct client *client)
{
    struct sigaction on_stop, on_continue, plain = {.sa_handler = SIG_DFL};
    stop_editing(client);
    if (terminal.hidden)
        drop_secret(client);
    restore_terminal();
    sigaction(SIGTSTP, &plain, &on_stop);
    sigaction(SIGCONT, &plain, &on_continue);
    raise(SIGTSTP);
    sigaction(SIGTSTP, &on_stop, NULL);
    sigaction(SIGCONT, &on_continue, NULL);
    take_terminal(client);
}

/* Acts on one signal; false where it ends the program. */
static bool on_wake(struct client *client)
{
    char number = 0;
    ssize_t n = read(client->wake, &number, 1);
    if (n == 1 && (number == SIGINT || number == SIGTERM))
        return false;
    if (number == SIGWINCH) {
        on_resized();
    } else if (number == SIGTSTP) {
        stop_process(client);
    } else if (number == SIGCONT) { /* after a stop that came without warning */
        abandon_line();
        take_terminal(client);
    }
    return true;
}

/* Passes on what comes, both ways, until it ends for good; gives the exit status. */
static int run(struct client *client)
{
    struct pollfd work[SOURCES];
    int status = -1;
    while (status < 0) {
        wait_for_work(client, work);
        if (work[WAKE].revents && !on_wake(client)) {
            stop_editing(client);
            close_in_order(client->link.fd);
            return EXIT_SUCCESS;
        }
        if (work[SCREEN].revents && !update_screen(client))
            return EXIT_FAILURE;
        if (work[SERVER].revents & ~POLLOUT && may_hear(client))
            receive(client);
        bool typed = work[KEYBOARD].revents && is_ready(STDIN_FILENO, POLLIN); /* and not dropped */
        if (typed && terminal.edited)
            on_keys(client);
        else if (typed)
            on_keyboard(client);
        if (until_deadline(client) == 0)
            on_deadline(client);
        send_typed(client);
        if (client->link.ended && unshown(client) == 0)
            status = ending(client);
    }
    return status;
}

/* ---- 11. Start and stop --------------------------------------------------------------------- */

static const char usage[] =
    "usage: chat-client [--host HOST] [--port PORT] [--name NAME]\n"
    "                   [--retries N] [--retry-delay SECONDS] [--help] [--version]\n";

static void print_help(void)
{
    printf("%s\n"
           "A chat client. It shows what the server sends and sends each line of its input.\n"
           "Nothing is encrypted, passwords neither. On a network that is not yours, use an SSH "
           "tunnel\n"
           "or a TLS proxy (README.md tells how).\n\n"
           "  --host HOST            where the server is (default %s)\n"
           "  --port PORT            its port (default %s)\n"
           "  --name NAME            the screen name to give (default: be asked for it)\n"
           "  --retries N            how often a connection that was lost is tried again; 0: not "
           "at all\n"
           "                         (default %d)\n"
           "  --retry-delay SECONDS  before the first of these tries; it doubles with each, up to\n"
           "                         %d s (default %d)\n"
           "  --help                 print this and exit\n"
           "  --version              print the version and exit\n\n"
           "In the chat, /help lists the commands. Ctrl+C ends the client; so does, once all is "
           "sent, Ctrl+D.\n"
           "%s\n",
           usage, HOST, PORT, RETRIES, MAX_RETRY_SECONDS, RETRY_SECONDS, editing_help);
}

/* Ends the program for a command line that is wrong. */
static _Noreturn void __attribute__((format(printf, 1, 2))) usage_error(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "%schat-client: error: ", usage);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    va_end(arguments);
    exit(2);
}

static bool set_host(struct options *options, const char *value)
{
    options->host = value;
    return *value != '\0' && strcmp(value, "*") != 0;
}

static bool set_port(struct options *options, const char *value)
{
    size_t digits = strspn(value, "0123456789");
    options->port = value;
    return digits > 0 && digits <= 9 && value[digits] == '\0' && strtol(value, NULL, 10) >= 1 &&
           strtol(value, NULL, 10) <= 65535;
}

/* Whether the name is a good one is for the server to say, if it is one line. */
static bool set_name(struct options *options, const char *value)
{
    size_t length = strlen(value);
    uint32_t code;
    for (size_t i = 0; i < length; i++) {
        size_t n = character_length(value[i]);
        bool good = n > 0 && n <= length - i && decode(value + i, n, &code);
        if (good && (code == '\n' || is_control(code)))
            return false;
    }
    options->name = value;
    return length <= READ_SIZE;
}

static bool set_retries(struct options *options, const char *value)
{
    size_t digits = strspn(value, "0123456789");
    options->retries = (int)strtol(value, NULL, 10);
    return digits > 0 && digits <= 9 && value[digits] == '\0';
}

static bool set_retry_delay(struct options *options, const char *value)
{
    size_t digits = strspn(value, "0123456789");
    const char *end = value + digits;
    if (*end == '.') {
        size_t decimals = strspn(end + 1, "0123456789");
        end = decimals > 0 && decimals <= 9 ? end + 1 + decimals : end;
    }
    options->retry_delay = strtod(value, NULL);
    return digits > 0 && digits <= 9 && *end == '\0' && options->retry_delay > 0;
}

/* An option that takes a value. */
struct value_option {
    const char *name;
    bool (*set)(struct options *options, const char *value); /* false: the value is no good */
};

static const struct value_option value_options[] = {
    {"--host", set_host},
    {"--port", set_port},
    {"--name", set_name},
    {"--retries", set_retries},
    {"--retry-delay", set_retry_delay},
    {NULL, NULL},
};

/* Reads an option and its value, which stands behind `=` or is the next word; gives the last. */
static char **set_option(struct options *options, char **word)
{
    const struct value_option *option = value_options;
    size_t length = strcspn(*word, "=");
    while (option->name &&
           (strlen(option->name) != length || strncmp(option->name, *word, length) != 0))
        option++;
    if (!option->name)
        usage_error("%s: %s", **word == '-' ? "unknown option" : "not an option", *word);
    bool joined = (*word)[length] == '=';
    const char *value = joined ? *word + length + 1 : *++word;
    if (!value)
        usage_error("no value for %s", option->name);
    if (!option->set(options, value))
        usage_error("bad value: %s%s%s", option->name, joined ? "=" : " ", value);
    return word;
}

/* Reads the command line; the first word that asks for help or is wrong ends the program. */
static void parse_options(struct options *options, char **word)
{
    for (; *word; word++) {
        if (strcmp(*word, "--help") == 0) {
            print_help();
            exit(EXIT_SUCCESS);
        } else if (strcmp(*word, "--version") == 0) {
            puts("chat-client " VERSION " (C, protocol 1)");
            exit(EXIT_SUCCESS);
        } else {
            word = set_option(options, word);
        }
    }
}

/* Opens what the caller left closed of descriptors 0 to 2, lest the connection become one. */
static void open_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", O_RDWR);
}

static int wake_writer = -1; /* the other end of client.wake; -1: there is no connection yet */

static void handle(int number, void (*handler)(int), int flags)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(number, &action, NULL);
}

/* What the caller has ignored (nohup) stays so. */
static void handle_unless_ignored(int number, void (*handler)(int), int flags)
{
    struct sigaction action;
    if (sigaction(number, NULL, &action) == 0 && action.sa_handler != SIG_IGN)
        handle(number, handler, flags);
}

/* Ends the program by the signal's own action, with the terminal as it was. */
static void end_by(int number)
{
    leave_line();
    restore_terminal();
    signal(number, SIG_DFL);
    raise(number);
}

/*
 * Tells the loop. A second signal to end ends the program at once; so does, in peace, the first
 * where there is no connection yet: nothing to close in order, and nobody to wake.
 */
static void on_signal(int number)
{
    int saved = errno;
    if (wake_writer < 0)
        _exit(EXIT_SUCCESS);
    if (number == SIGINT || number == SIGTERM) {
        handle_unless_ignored(SIGINT, end_by, SA_RESTART);
        handle(SIGTERM, end_by, SA_RESTART);
    }
    char byte = (char)number;
    ssize_t written = write(wake_writer, &byte, 1);
    (void)written; /* the pipe has room, and nothing could be done about it here */
    errno = saved;
}

static void catch_signals(void)
{
    static const int others[] = {SIGHUP,  SIGQUIT,   SIGUSR1, SIGUSR2,
                                 SIGALRM, SIGVTALRM, SIGPROF, SIGXCPU};
    signal(SIGPIPE, SIG_IGN); /* standard output gone is noticed where it is written to */
    handle_unless_ignored(SIGINT, on_signal, SA_RESTART); /* PROG-10 */
    handle(SIGTERM, on_signal, SA_RESTART);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        handle_unless_ignored(others[i], end_by, SA_RESTART);
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * Once there is something to show, what happens to the terminal matters too. To go on after a stop
 * interrupts a read, which else would wait with the terminal as the shell left it.
 */
static void catch_terminal_signals(void)
{
    if (!isatty(STDIN_FILENO))
        return;
    handle_unless_ignored(SIGTSTP, on_signal, SA_RESTART);
    handle(SIGCONT, on_signal, 0);
    handle(SIGWINCH, on_signal, SA_RESTART);
}

/* From here on, a signal closes the connection in order. Gives the descriptor to watch. */
static int make_wake(void)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        perror("chat-client: pipe");
        exit(EXIT_FAILURE);
    }
    wake_writer = ends[1];
    return ends[0];
}

int main(int argc, char **argv)
{
    static struct client client = {.options = {HOST, PORT, NULL, RETRIES, RETRY_SECONDS}};
    const char *reason;
    (void)argc;
    open_standard_files();
    catch_signals();
    parse_options(&client.options, argv + 1);
    client.answer = client.options.name;
    client.link.fd = connect_to(&client.options, -1, &reason);
    if (client.link.fd < 0)
        cannot_connect(&client.options, reason);
    client.wake = make_wake();
    catch_terminal_signals();
    prepare_editor(&client);
    take_terminal(&client);
    int status = run(&client);
    stop_editing(&client);
    restore_terminal();
    close(client.link.fd);
    return status;
}
