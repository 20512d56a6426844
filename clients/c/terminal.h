/*
 * terminal.h: the terminal of standard input: line editing (EDIT), passwords without echo (HIDE).
 *
 * It is in one of three modes:
 *
 *     plain    the terminal edits lines itself, or there is no terminal
 *     hidden   the same without echo, while a password is typed
 *     edited   readline edits the line, which is drawn below everything else, after its prompt
 *
 * Exports: take, start_editing, end_editing, hide_typing, show_typing, drop_typed, stop, go_on,
 * give_back; print_above, draw, take_off, on_resized; read_line; know, forget, forget_names;
 * is_editing, is_ours, is_ready, now_ms, decode. Line editing requires -lreadline.
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

#define BROKEN UINT32_MAX /* the code of a byte that is not UTF-8 */

static struct terminal {
    struct termios before;         /* the original mode, to restore */
    volatile sig_atomic_t changed; /* the terminal has another mode */
    bool ours;                     /* we are in the foreground, and our mode is set */
    bool edits;                    /* lines can be edited, until the end of the input */
    bool hidden;                   /* a password is being typed */
    bool drawn;                    /* the half-typed line is on the screen */
    bool marks;                    /* bracketed paste is on */
} terminal;

/* Whether the mode is `edited`. */
static bool is_editing(void)
{
    return terminal.edits && !terminal.hidden;
}

/* Whether we are in the foreground. */
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

/* Whether a descriptor is readable or writable within some milliseconds. */
static bool is_ready(int fd, short events, int patience)
{
    struct pollfd wanted = {.fd = fd, .events = events};
    return poll(&wanted, 1, patience) > 0;
}

/* Decodes the first character. Returns its length; 0 where it is incomplete, which are three bytes
 * at the most: no byte above 0xF4 begins a character, although mbrtowc would wait for five more. */
static size_t decode(const char *bytes, size_t length, uint32_t *code)
{
    wchar_t letter = (unsigned char)*bytes;
    size_t n = letter < 0x80 ? 1 : (size_t)-1;
    if (letter >= 0x80 && letter <= 0xF4)
        n = mbrtowc(&letter, bytes, length, &(mbstate_t){0});
    *code = n <= length ? (uint32_t)letter : BROKEN;
    return n == (size_t)-2 ? 0 : n == (size_t)-1 ? 1 : n;
}

/* --- Modes --- */

/* Turns bracketed paste on or off, unless Ctrl+S has stopped the terminal. */
static void mark_pastes(bool wanted)
{
    const char *asked = wanted ? "\033[?2004h" : "\033[?2004l";
    if (wanted != terminal.marks && is_ready(STDOUT_FILENO, POLLOUT, 0) &&
        write(STDOUT_FILENO, asked, strlen(asked)) > 0)
        terminal.marks = wanted;
}

/* Discards a half-typed password (HIDE-2). */
static void drop_typed(void)
{
    if (!terminal.hidden || !is_ours())
        return;
    tcflush(STDIN_FILENO, TCIFLUSH);
    is_ready(STDIN_FILENO, POLLIN, 0); /* makes the kernel deliver input still in its buffers */
    tcflush(STDIN_FILENO, TCIFLUSH);
}

/* Restores the original mode (HIDE-4, EDIT-8). A signal handler may call this. */
static void give_back(void)
{
    if (!terminal.changed || !is_ours())
        return;
    drop_typed();
    mark_pastes(false);
    tcsetattr(STDIN_FILENO, TCSANOW, &terminal.before);
    terminal.changed = false;
}

/* Sets the terminal's mode as we need it now. Input typed ahead stays. */
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
    if (terminal.hidden && terminal.before.c_lflag & ECHO) /* else another program echoes */
        wanted.c_lflag |= ECHONL;
    if (is_editing()) {
        wanted.c_lflag &= ~(tcflag_t)(ICANON | IEXTEN);
        wanted.c_iflag &= ~(tcflag_t)IXON; /* Ctrl+S becomes a key */
    }
    terminal.changed = true;
    tcsetattr(STDIN_FILENO, TCSANOW, &wanted);
    mark_pastes(is_editing());
}

/* Finds out whether we are in the foreground, and sets our mode when we have come there. */
static void take(void)
{
    bool ours = is_ours();
    if (ours && !terminal.ours)
        set_mode();
    if (!ours)
        terminal.drawn = false;
    terminal.ours = ours;
}

/* Handles SIGCONT: sets up the terminal again, which other programs may have used. */
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

#define MAX_TYPED   4095 /* bytes of an edited line, as in the kernel's own editing */
#define MAX_HISTORY 500  /* lines */
#define MAX_NAMES   1000 /* names that TAB completes */
#define NAME_BYTES  33
#define MAX_KEY     1024 /* bytes of an escape sequence */
#define ESCAPE_MS   500  /* to wait for more after Escape alone */
#define SEQUENCE_MS 2000 /* to wait for more after a longer part of an escape sequence */

/* The state of line editing, besides readline's own, which includes the half-typed line. */
static struct editor {
    bool (*typed)(void *context, const char *line, size_t length);
    void *context;
    char names[MAX_NAMES][NAME_BYTES]; /* in the room */
    size_t name_count;

    char key[MAX_KEY + 1]; /* an incomplete key */
    size_t length;
    int64_t since; /* when its last byte came, in ms */
    bool pasting;
    const char *next; /* the input of readline */
    size_t left;      /* bytes of it */
    bool own;         /* the prompt is the client's own */
    int rows, width;  /* of the window */
    bool one_row;     /* the line has more rows than the window, and scrolls in one row instead */
} editor;

/* --- Screen --- */

/* Returns the columns of a text. A TAB, whose width depends on its position, counts as eight. */
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

/* Returns the columns from the beginning of the prompt to an offset in the line. */
static int columns_to(int point)
{
    return columns_of(rl_prompt, strlen(rl_prompt)) + columns_of(rl_line_buffer, (size_t)point);
}

/* Tells readline the size of the window. It needs four columns at least. */
static void get_size(void)
{
    struct winsize size = {0};
    ioctl(STDOUT_FILENO, TIOCGWINSZ, &size);
    editor.rows = size.ws_row > 0 ? size.ws_row : 24;
    editor.width = size.ws_col > 0 ? MAX(size.ws_col, 4) : 80;
    rl_set_screen_size(editor.rows, editor.width);
}

/* Draws as readline does, but a line with more rows than the window in one row (EDIT-1). */
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
    rl_forced_update_display(); /* calls this function again */
}

/* Erases the half-typed line, to show something above it. */
static void take_off(void)
{
    if (terminal.drawn)
        rl_clear_visible_line();
    fflush(stdout);
    terminal.drawn = false;
}

/* Draws the half-typed line after a prompt; `own` says that it is the client's own. A TAB in it
 * becomes a space, because readline counts one column for it. */
static void draw(const char *text, size_t length, bool own)
{
    char *prompt = strndup(text, length);
    if (!prompt)
        return;
    for (char *tab = prompt; (tab = strchr(tab, '\t'));)
        *tab = ' ';
    get_size(); /* it may have changed while we were stopped, without a signal */
    rl_set_prompt(prompt);
    free(prompt);
    editor.own = own;
    putchar('\r');
    rl_forced_update_display();
    fflush(stdout);
    terminal.drawn = true;
}

/* Leaves the half-typed line on the screen, but not the client's own prompt alone (EDIT-3). */
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

/* Handles a new size of the window. Some terminals wrap long rows again, others do not. The line is
 * erased as if it had the smaller number of rows, so that the chat above it stays. */
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

/* Returns the command that readline, or the user's .inputrc, binds to a key, or NULL. */
static rl_command_func_t *command_of(const char *key, size_t length, int *type)
{
    *type = ISFUNC;
    return rl_function_of_keyseq_len(key, length, NULL, type);
}

/* Whether these bytes are a complete key: a character, an escape sequence, or one or more control
 * characters. readline gets only complete keys, so it never waits for the rest of one. */
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
    if (key[1] != '[') /* a reply of the terminal, which ends with BEL or ST */
        return last == '\a' || (last == '\\' && key[length - 2] == '\033');
    if (key[2] == 'M' || key[2] == '[') /* a mouse click; F1 to F5 on the Linux console */
        return length == (key[2] == 'M' ? 6 : 4);
    return last >= '@' && last <= '~';
}

/* Reads a byte of the current key for readline. EOF ends a command that asks for more. */
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

/* Passes one key to readline. Up, Down and the searches of readline 8.2 keep pointers into the undo
 * list, which other commands free. So the list is freed before each command; undo then goes back
 * only to the last control key. */
static void feed(const char *bytes, size_t length)
{
    int type;
    rl_command_func_t *command = command_of(bytes, length, &type);
    if (command != rl_insert && command != rl_undo_command && command != rl_revert_line)
        rl_free_undo_list();
    editor.next = bytes;
    editor.left = length;
    while (editor.left > 0 || RL_ISSTATE(RL_STATE_MACROINPUT)) /* a macro of .inputrc */
        rl_callback_read_char();
}

/* Whether a key is bound to a command that we allow. Not allowed are numeric arguments, which wait
 * for more digits, and macros, which replay many keys at once (see `feed`), and make readline 8.2
 * crash where one ends in a search that has not begun. */
static bool is_bound(const char *key, size_t length)
{
    int type;
    rl_command_func_t *command = command_of(key, length, &type);
    return command && type != ISKMAP && command != rl_digit_argument &&
           command != rl_universal_argument && command != rl_start_kbd_macro &&
           command != rl_end_kbd_macro && command != rl_call_last_kbd_macro;
}

/* Handles a key. Unknown keys do nothing (EDIT-7), nor do pasted keys other than Enter. */
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

/* Handles input from the terminal; returns true where the user has ended it (Ctrl+D). It reads byte
 * by byte, so that input after a line stays in the terminal until the next line is drawn. */
static bool read_line(void)
{
    int64_t late = now_ms() - editor.since;
    if (*editor.key == '\033' && late > (editor.length == 1 ? ESCAPE_MS : SEQUENCE_MS))
        editor.length = 0;
    while (terminal.drawn && is_editing() && is_ready(STDIN_FILENO, POLLIN, 0)) {
        char *next = editor.key + editor.length;
        ssize_t n = read(STDIN_FILENO, next, 1);
        if (n < 0 && (errno == EAGAIN || errno == EINTR || !is_ours()))
            break;
        bool ends = *next == '\004' && editor.length == 0 && rl_end == 0 && !editor.pasting;
        if (n <= 0 || ends)
            return true;
        editor.since = now_ms();
        bool begins = *next == '\033' && (editor.length == 1 || *editor.key != '\033');
        if (begins) /* the last of several Escapes counts */
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

/* Handles an entered line, which stays on the screen. readline has moved the cursor below it. */
static void on_entered(char *line)
{
    if (!line)
        return;
    if (editor.one_row) /* show all of it now */
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

/* Forgets a name that has left the room. */
static void forget(const char *name)
{
    size_t i = editor.name_count;
    while (i > 0 && strcasecmp(editor.names[i - 1], name) != 0)
        i--;
    if (i > 0)
        memmove(editor.names[i - 1], editor.names[i], (editor.name_count-- - i) * NAME_BYTES);
}

/* Remembers a name in the room; with too many, forgets the oldest. */
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

/* Returns the next command or name that begins with the word, or NULL; readline frees it. */
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

/* Completes a command at the beginning of the line, or a name anywhere else (EDIT-6). */
static char **complete(const char *word, int start, int end)
{
    (void)end;
    rl_attempted_completion_over = 1; /* no file names */
    bool possible = *word && (*word != '/' || start == 0);
    return possible ? rl_completion_matches(word, next_match) : NULL;
}

/* --- Beginning and end --- */

/* Binds what other terminals send for Home and End: not all of them set TERM to their own name. */
static void bind_home_and_end(void)
{
    rl_bind_keyseq_if_unbound("\\e[1~", rl_beg_of_line);
    rl_bind_keyseq_if_unbound("\\e[7~", rl_beg_of_line);
    rl_bind_keyseq_if_unbound("\\e[4~", rl_end_of_line);
    rl_bind_keyseq_if_unbound("\\e[8~", rl_end_of_line);
}

/* Initializes readline. The terminal's mode, signals and input stay ours. */
static void start_editing(bool (*typed)(void *, const char *, size_t), void *context)
{
    const char *term = getenv("TERM");
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || !term || !*term ||
        strcmp(term, "dumb") == 0)
        return;
    setenv("LC_ALL", "C.UTF-8", 1); /* readline reads the locale from the environment */
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
    if (!rl_get_termcap("up")) /* terminfo does not know the terminal */
        rl_reset_terminal("xterm");
    rl_redisplay_function = redisplay; /* rl_initialize would then not read terminfo */
    bind_home_and_end();
    rl_variable_bind("bell-style", "none"); /* a bell would go to standard error */
    rl_variable_bind("completion-ignore-case", "on");
    rl_variable_bind("completion-query-items", "0"); /* a question would block */
    rl_variable_bind("page-completions", "off");     /* likewise */
    rl_variable_bind("enable-bracketed-paste", "off");
    rl_tty_set_echoing(1);
    get_size();
    stifle_history(MAX_HISTORY);
    rl_callback_handler_install("", on_entered);
    terminal.edits = true;
}

/* Discards the half-typed line. */
static void drop_line(void)
{
    if (!terminal.edits)
        return;
    take_off();
    rl_callback_sigcleanup();
    rl_free_undo_list();
    rl_initialize(); /* an empty line, after the newest one of the history */
    editor.length = 0;
    editor.pasting = false;
}

#else

/* Without readline, the terminal edits lines. */
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

/* Writes lines above the half-typed one; returns the result of `write`. */
static ssize_t print_above(const char *bytes, size_t length)
{
    take_off();
    return write(STDOUT_FILENO, bytes, length);
}

/* Hides the typing of a password (HIDE-1). A half-typed line before it is dropped. */
static void hide_typing(void)
{
    if (terminal.hidden || !isatty(STDIN_FILENO))
        return;
    drop_line();
    terminal.hidden = true;
    terminal.ours = false;
}

/* Shows typing again. Half-typed input stays; see `drop_typed`. */
static void show_typing(void)
{
    if (!terminal.hidden)
        return;
    terminal.hidden = false;
    terminal.ours = false;
}

/* Ends line editing: leaves the half-typed line on the screen, and restores the mode. */
static void end_editing(void)
{
    leave();
    give_back();
    terminal.edits = false;
}

/* Stops the program (Ctrl+Z), with the original mode, until SIGCONT. */
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
