/*
 * terminal.h: the terminal that standard input is, if it is one: typing while others talk (EDIT),
 * and passwords that are not shown (HIDE).
 *
 * It is in one of three modes:
 *
 *     plain    the terminal's own way to take lines; also where there is no terminal
 *     hidden   the same without echo, while a password is typed
 *     edited   readline has the half-typed line; it stands below all else, behind its prompt
 *
 * Offers `take`, which each round of the loop calls; what is on the screen: `print_above`, `draw`,
 * `take_off`; `read_line`, which calls `typed` for each line that Enter ends; what changes the
 * mode: `start_editing`, `end_editing`, `hide_typing`, `show_typing`, `stop`, `go_on`, `give_back`;
 * who is in the room, for TAB: `know`, `forget`, `forget_names`; and some small questions. Needs
 * -DLINE_EDITING and -lreadline for lines that are edited.
 */
#ifndef TERMINAL_H
#define TERMINAL_H

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/param.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>
#include <wchar.h>

#define BROKEN UINT32_MAX /* a byte that is not UTF-8 */

static struct terminal {
    struct termios before;         /* its mode as it was, and is to be at the end */
    volatile sig_atomic_t changed; /* it has another mode now */
    bool ours;                     /* we are in the foreground, and it has the mode that we need */
    bool edits;                    /* lines can be edited; the end of the input ends that */
    bool hidden;                   /* a password is typed */
    bool drawn;                    /* the half-typed line is on the screen */
    bool marks;                    /* it marks what is pasted */
} terminal;

/* Whether what is typed now is an edited line. */
static bool is_editing(void)
{
    return terminal.edits && !terminal.hidden;
}

/* Whether we are in the foreground: the shell has not given the terminal to another job. */
static bool is_ours(void)
{
    pid_t group = tcgetpgrp(STDIN_FILENO);
    return group <= 0 || group == getpgrp();
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Whether a descriptor can be read, or written, within some milliseconds. */
static bool is_ready(int fd, short events, int patience)
{
    struct pollfd wanted = {.fd = fd, .events = events};
    return poll(&wanted, 1, patience) > 0;
}

/* Decodes the first character of some bytes. Gives its length, 0 where it has more bytes. */
static size_t decode(const char *bytes, size_t length, uint32_t *code)
{
    wchar_t letter = (unsigned char)*bytes;
    size_t n = letter < 0x80 ? 1 : mbrtowc(&letter, bytes, length, &(mbstate_t){0});
    *code = n <= length ? (uint32_t)letter : BROKEN;
    return n == (size_t)-2 ? 0 : n == (size_t)-1 ? 1 : n;
}

/* --- Modes --- */

/* Asks the terminal to mark what is pasted, or not to, unless Ctrl+S holds it up. */
static void mark_pastes(bool wanted)
{
    const char *asked = wanted ? "\033[?2004h" : "\033[?2004l";
    if (wanted != terminal.marks && is_ready(STDOUT_FILENO, POLLOUT, 0) &&
        write(STDOUT_FILENO, asked, strlen(asked)) > 0)
        terminal.marks = wanted;
}

/* Drops what is half typed of a password: no program is to read it (HIDE-2). */
static void drop_typed(void)
{
    if (!terminal.hidden || !is_ours())
        return;
    tcflush(STDIN_FILENO, TCIFLUSH);
    is_ready(STDIN_FILENO, POLLIN, 0); /* the kernel hands over what it has taken */
    tcflush(STDIN_FILENO, TCIFLUSH);
}

/* Gives the terminal back as it was (HIDE-4, EDIT-8). A signal handler may call this. */
static void give_back(void)
{
    if (!terminal.changed || !is_ours())
        return;
    drop_typed();
    mark_pastes(false);
    tcsetattr(STDIN_FILENO, TCSANOW, &terminal.before);
    terminal.changed = false;
}

/* Gives the terminal, which is ours, the mode that we need. What was typed ahead stays. */
static void set_mode(void)
{
    if (!terminal.edits && !terminal.hidden) {
        give_back();
        return;
    }
    if (!terminal.changed && tcgetattr(STDIN_FILENO, &terminal.before) < 0)
        return;
    struct termios wanted = terminal.before;
    wanted.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    if (terminal.hidden && terminal.before.c_lflag & ECHO) /* else another shows what is typed */
        wanted.c_lflag |= ECHONL;
    if (is_editing()) {
        wanted.c_lflag &= ~(tcflag_t)(ICANON | IEXTEN);
        wanted.c_iflag &= ~(tcflag_t)IXON; /* Ctrl+S searches; ICRNL stays: Enter is '\n' */
    }
    terminal.changed = true;
    tcsetattr(STDIN_FILENO, TCSANOW, &wanted);
    mark_pastes(is_editing());
}

/* Finds out whether the terminal is ours, and gives it our mode where it has become ours. */
static void take(void)
{
    bool ours = is_ours();
    if (ours && !terminal.ours)
        set_mode();
    if (!ours)
        terminal.drawn = false;
    terminal.ours = ours;
}

/* Takes the terminal anew: others may have used it while the program was stopped. */
static void go_on(void)
{
    terminal.ours = false;
    terminal.drawn = false;
}

#ifdef LINE_EDITING

#include <limits.h>
#include <readline/history.h>
#include <readline/readline.h>
#include <wctype.h>

#define MAX_TYPED   4095 /* bytes of an edited line: what a terminal itself takes */
#define MAX_HISTORY 500  /* lines that Up brings back */
#define MAX_NAMES   1000 /* that TAB completes */
#define NAME_BYTES  33
#define MAX_KEY     1024 /* bytes of what a key sends, or of what the terminal answers */
#define ESCAPE_MS   500  /* after Escape, for what would make it the beginning of a key */
#define SEQUENCE_MS 2000 /* for the rest of a longer one */

/* What stands between the keys and readline, which has the half-typed line itself. */
static struct editor {
    bool (*typed)(void *context, const char *line, size_t length);
    void *context;
    char names[MAX_NAMES][NAME_BYTES];
    size_t name_count;

    char key[MAX_KEY + 1]; /* the beginning of what a key sends */
    size_t length;
    int64_t since;    /* when its last byte came, in ms */
    bool pasting;     /* keys are text, whatever they are */
    const char *next; /* what readline reads next */
    size_t left;      /* bytes of it */
    bool own;         /* the prompt is the client's own */
    int rows, width;  /* of the window, as readline was given them */
    bool one_row;     /* the line is higher than the window: it scrolls in one row */
} editor;

/* --- Screen --- */

/* The columns that a text takes; a TAB, whose width depends on where it stands, counts as eight. */
static int columns_of(const char *text, size_t length)
{
    int columns = 0;
    uint32_t code;
    for (size_t n; length > 0 && (n = decode(text, length, &code)) > 0; text += n, length -= n) {
        int width = code == '\t' ? 8 : wcwidth((wchar_t)code);
        columns += MAX(width, 0);
    }
    return columns;
}

/* The columns from the beginning of the prompt to some byte of the line. */
static int columns_to(int point)
{
    return columns_of(rl_prompt, strlen(rl_prompt)) + columns_of(rl_line_buffer, (size_t)point);
}

/* Gives readline the size of the window; it cannot draw in less than four columns. */
static void get_size(void)
{
    struct winsize size = {0};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    editor.rows = size.ws_row > 0 ? size.ws_row : 24;
    editor.width = size.ws_col > 0 ? MAX(size.ws_col, 4) : 80;
    rl_set_screen_size(editor.rows, editor.width);
}

/* Draws as readline does; a line that is higher than the window is drawn in one row (EDIT-1). */
static void redisplay(void)
{
    bool one_row = columns_to(rl_end) / editor.width >= editor.rows - 1;
    if (one_row == editor.one_row) {
        rl_redisplay();
        return;
    }
    if (terminal.drawn)
        rl_clear_visible_line();
    editor.one_row = one_row;
    rl_variable_bind("horizontal-scroll-mode", one_row ? "on" : "off");
    rl_forced_update_display(); /* which comes here again */
}

/* Takes the half-typed line off the screen: it gives way to something above it. */
static void take_off(void)
{
    if (terminal.drawn)
        rl_clear_visible_line();
    fflush(stdout);
    terminal.drawn = false;
}

/*
 * Draws the half-typed line in the cursor's row, behind a prompt; `own` says that it is one of the
 * client's own. A TAB in it becomes a blank, because readline takes each byte of it for a column.
 */
static void draw(const char *text, size_t length, bool own)
{
    char *prompt = strndup(text, length);
    if (!prompt)
        return;
    for (char *tab = prompt; (tab = strchr(tab, '\t'));)
        *tab = ' ';
    get_size(); /* no signal says that it has changed while we were stopped */
    rl_set_prompt(prompt);
    free(prompt);
    editor.own = own;
    putchar('\r');
    rl_forced_update_display();
    fflush(stdout);
    terminal.drawn = true;
}

/* Puts the cursor below the line, which stays, unless it is an own prompt alone (EDIT-3). */
static void leave(void)
{
    int point = rl_point;
    if (!terminal.drawn || !is_ours() || !is_ready(STDOUT_FILENO, POLLOUT, 0))
        return;
    if (editor.own && rl_end == 0) {
        take_off();
        return;
    }
    rl_point = rl_end;
    redisplay();
    if (rl_end > 0 || *rl_prompt)
        putchar('\n');
    fflush(stdout);
    rl_point = point;
    terminal.drawn = false;
}

/*
 * The window has another size. Some terminals break the rows anew, others do not: go up as few
 * rows as either needs, because above them is the chat.
 */
static void on_resized(void)
{
    if (!terminal.edits)
        return;
    int before = columns_to(rl_point) / editor.width;
    get_size();
    int after = columns_to(rl_point) / editor.width;
    if (!terminal.drawn)
        return;
    putchar('\r');
    for (int up = editor.one_row ? 0 : MIN(before, after); up > 0; up--)
        fputs("\033[A", stdout);
    fputs("\033[J", stdout);
    rl_on_new_line();
    terminal.drawn = false;
}

/* --- Keys --- */

/* What readline, or the user's .inputrc, does at a key: NULL for nothing. */
static rl_command_func_t *command_of(const char *key, size_t length, int *type)
{
    *type = ISFUNC;
    return rl_function_of_keyseq_len(key, length, NULL, type);
}

/*
 * Whether these bytes are a whole key: a letter, an escape sequence, or one or more control
 * characters. readline gets nothing else: it is to wait for no rest when a password is asked.
 */
static bool is_whole(const char *key, size_t length)
{
    uint32_t code;
    int type;
    char last = key[length - 1];
    if (*key != '\033')
        return decode(key, length, &code) > 0 && (command_of(key, length, &type), type != ISKMAP);
    if (length < 3)
        return length == 2 && !strchr("[O]P_^X", last);
    if (key[1] == 'O')
        return true;
    if (key[1] != '[') /* an answer of the terminal, which ends at BEL or ST */
        return last == '\a' || (last == '\\' && key[length - 2] == '\033');
    if (key[2] == 'M' || key[2] == '[') /* a click; F1 to F5 of Linux's own screen */
        return length == (key[2] == 'M' ? 6 : 4);
    return last >= '@' && last <= '~';
}

/* What readline gets in place of a terminal; a command that asks for more than there is ends. */
static int next_byte(FILE *file)
{
    (void)file;
    if (editor.left == 0)
        return EOF;
    editor.left--;
    return (unsigned char)*editor.next++;
}

static int has_next_byte(void)
{
    return editor.left > 0;
}

/* Lets readline have one key. */
static void feed(const char *bytes, size_t length)
{
    editor.next = bytes;
    editor.left = length;
    while (editor.left > 0 || RL_ISSTATE(RL_STATE_MACROINPUT)) /* a macro of .inputrc */
        rl_callback_read_char();
}

/* Whether a key is a command; one that would wait for a number's other digits is none to us. */
static bool is_bound(const char *key, size_t length)
{
    int type;
    rl_command_func_t *command = command_of(key, length, &type);
    return command && type != ISKMAP && command != rl_digit_argument &&
           command != rl_universal_argument;
}

/*
 * Does what one key wants. What is neither text nor a key that readline knows, such as an answer
 * of the terminal, does nothing; nor does a key other than Enter that is pasted.
 */
static void press(const char *key, size_t length)
{
    uint32_t code;
    bool text = decode(key, length, &code) == length && code != BROKEN &&
                (!iswcntrl(code) || (code == '\t' && editor.pasting));
    if (strcmp(key, "\033[200~") == 0 || strcmp(key, "\033[201~") == 0) {
        editor.pasting = key[4] == '0';
    } else if (text && rl_end + (int)length > MAX_TYPED) {
        return;
    } else if (text && editor.pasting) {
        rl_insert_text(key);
        redisplay();
    } else if (code == '\n' || code == '\r') {
        feed("\n", 1);
    } else if (text || (!editor.pasting && code < 0x80 && is_bound(key, length))) {
        feed(key, length);
    }
}

/*
 * Takes what was typed, byte by byte; the rest stays in the terminal once a line has ended, until
 * the next one is drawn. True where the user has ended the input, whatever key came before.
 */
static bool read_line(void)
{
    int64_t late = now_ms() - editor.since;
    if (*editor.key == '\033' && late > (editor.length == 1 ? ESCAPE_MS : SEQUENCE_MS))
        editor.length = 0;
    while (terminal.drawn && is_editing() && is_ready(STDIN_FILENO, POLLIN, 0)) {
        char *next = editor.key + editor.length;
        ssize_t n = read(STDIN_FILENO, next, 1);
        if (n < 0 && (errno == EAGAIN || !is_ours()))
            break;
        bool ends = *next == '\004' && editor.length == 0 && rl_end == 0 && !editor.pasting;
        if (n <= 0 || ends)
            return true;
        editor.since = now_ms();
        bool begins = *next == '\033' && (editor.length == 1 || *editor.key != '\033');
        if (begins) /* of several Escapes the last counts */
            *editor.key = *next;
        editor.length = begins ? 1 : editor.length + 1;
        if (is_whole(editor.key, editor.length) || editor.length == MAX_KEY) {
            editor.key[editor.length] = '\0';
            press(editor.key, editor.length);
            editor.length = 0;
        }
    }
    fflush(stdout);
    return false;
}

/* Passes on a line that was entered; readline has put the cursor below it. */
static void on_entered(char *line)
{
    if (!line)
        return;
    if (editor.one_row) /* now all of it is shown */
        printf("\033[A\r\033[K%s%s\n", rl_prompt, line);
    rl_set_prompt("");
    terminal.drawn = false;
    size_t length = strnlen(line, MAX_TYPED);
    line[length] = '\n';
    bool keep = editor.typed(editor.context, line, length + 1);
    line[length] = '\0';
    const HIST_ENTRY *last = history_get(history_base + history_length - 1);
    if (keep && *line && !(last && strcmp(last->line, line) == 0))
        add_history(line);
    using_history();
    free(line);
}

/* --- Completion --- */

static void forget(const char *name)
{
    size_t i = editor.name_count;
    while (i > 0 && strcasecmp(editor.names[i - 1], name) != 0)
        i--;
    if (i > 0)
        memmove(editor.names[i - 1], editor.names[i], (editor.name_count-- - i) * NAME_BYTES);
}

/* Those who talk stand last, where they are found soon; with too many, the first goes. */
static void know(const char *name)
{
    forget(name);
    if (editor.name_count == MAX_NAMES)
        forget(editor.names[0]);
    snprintf(editor.names[editor.name_count++], NAME_BYTES, "%s", name);
}

static void forget_names(void)
{
    editor.name_count = 0;
}

/* Gives the next command or name that begins as the word does; readline frees it. */
static char *next_match(const char *word, int state)
{
    static const char *const commands[] = {"/help",     "/who",    "/msg",        "/nick", "/quit",
                                           "/register", "/passwd", "/unregister", NULL};
    static size_t i;
    bool command = *word == '/';
    for (i = state == 0 ? 0 : i; command ? commands[i] != NULL : i < editor.name_count;) {
        const char *match = command ? commands[i] : editor.names[i];
        i++;
        if (strncasecmp(match, word, strlen(word)) == 0)
            return strdup(match);
    }
    return NULL;
}

/* Completes a command at the beginning of the line, a name anywhere else (EDIT-6). */
static char **complete(const char *word, int start, int end)
{
    (void)end;
    rl_attempted_completion_over = 1; /* no names of files */
    bool possible = *word && (*word != '/' || start == 0);
    return possible ? rl_completion_matches(word, next_match) : NULL;
}

/* --- Beginning and end --- */

/* readline reads the user's .inputrc; the terminal's mode, signals and input are our business. */
static void start_editing(bool (*typed)(void *, const char *, size_t), void *context)
{
    const char *term = getenv("TERM");
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || !term || !*term ||
        strcmp(term, "dumb") == 0)
        return;
    setenv("LC_ALL", "C.UTF-8", 1); /* readline goes by the environment */
    editor.typed = typed;
    editor.context = context;
    rl_readline_name = "chat";
    rl_catch_signals = 0;
    rl_catch_sigwinch = 0;
    rl_prep_term_function = NULL;
    rl_deprep_term_function = NULL;
    rl_getc_function = next_byte;
    rl_input_available_hook = has_next_byte;
    rl_attempted_completion_function = complete;
    rl_completer_word_break_characters = " ";
    rl_initialize();
    if (!rl_get_termcap("up")) /* a terminal that terminfo does not know */
        rl_reset_terminal("xterm");
    rl_redisplay_function = redisplay;      /* not before, because then readline leaves all to us */
    rl_variable_bind("bell-style", "none"); /* it would ring on standard error */
    rl_variable_bind("completion-ignore-case", "on");
    rl_variable_bind("completion-query-items", "0"); /* it would wait for the answer */
    rl_variable_bind("page-completions", "off");     /* likewise */
    rl_variable_bind("revert-all-at-newline", "on"); /* else a password may get into the history */
    rl_variable_bind("enable-bracketed-paste", "off");
    rl_tty_set_echoing(1);
    get_size();
    stifle_history(MAX_HISTORY);
    rl_callback_handler_install("", on_entered);
    terminal.edits = true;
}

/* Drops what is half typed. */
static void drop_line(void)
{
    if (!terminal.edits)
        return;
    take_off();
    rl_callback_sigcleanup();
    rl_replace_line("", 1);
    rl_point = 0;
    editor.length = 0;
    editor.pasting = false;
}

#else

/* Without readline a half-typed line is the terminal's business. */
#define start_editing(typed, context) ((void)(typed), (void)(context))
#define take_off()                    ((void)0)
#define draw(text, length, own)       ((void)(text), (void)(length), (void)(own))
#define leave()                       ((void)0)
#define drop_line()                   ((void)0)
#define on_resized()                  ((void)0)
#define read_line()                   false
#define know(name)                    ((void)(name))
#define forget(name)                  ((void)(name))
#define forget_names()                ((void)0)

#endif

/* Writes lines above the half-typed one; gives what `write` gives. */
static ssize_t print_above(const char *bytes, size_t length)
{
    take_off();
    return write(STDOUT_FILENO, bytes, length);
}

/* From here on what is typed is a password (HIDE-1); what is half typed is none. */
static void hide_typing(void)
{
    if (terminal.hidden || !isatty(STDIN_FILENO))
        return;
    drop_line();
    terminal.hidden = true;
    terminal.ours = false;
}

/* Goes back to what was before. What is half typed stays; see `drop_typed`. */
static void show_typing(void)
{
    if (!terminal.hidden)
        return;
    terminal.hidden = false;
    terminal.ours = false;
}

/* Leaves the half-typed line on the screen, and the terminal as it was. */
static void end_editing(void)
{
    leave();
    give_back();
    terminal.edits = false;
}

/* Stops, with the terminal as it was, until we are told to go on (Ctrl+Z). */
static void stop(void)
{
    leave();
    give_back();
    void (*ours)(int) = signal(SIGTSTP, SIG_DFL);
    raise(SIGTSTP);
    signal(SIGTSTP, ours);
    go_on();
}

#endif
