/*
 * terminal.h: the terminal that standard input is, if it is one: typing while others talk (EDIT),
 * and passwords that are not shown (HIDE).
 *
 * It is in one of three modes:
 *
 *     PLAIN    the terminal's own line mode; also where there is no terminal at all
 *     HIDDEN   the same without echo, while a password is typed
 *     EDITED   readline has the half-typed line; it stands below all else, behind its prompt
 *
 * Offers, each round of the loop:
 *     take_terminal    finds out whether the terminal is ours: then `terminal.taken` is true
 *     print_above      writes lines above the half-typed one
 *     set_prompt       draws the half-typed line, behind a prompt; then `terminal.drawn` is true
 *     read_line        takes keys; calls `typed` for a line, with NULL for the end of input
 *     key_timeout      says when it has to be called without a key
 * and otherwise:
 *     start_editing, end_editing, mode_now
 *     hide_typing, show_typing, drop_line
 *     on_resized, stop_here (Ctrl+Z), restore (however the program ends)
 *     add_to_history, know_name, forget_name, forget_names (what Up and TAB bring)
 *     is_ours, is_ready, now_ms
 * Needs -DLINE_EDITING and -lreadline for EDITED. Without them the other two modes are left.
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
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define MOST_TYPED 4095 /* bytes of an edited line; a terminal itself takes no more */

enum mode { PLAIN, HIDDEN, EDITED };

static struct terminal {
    struct termios before;         /* its mode as it was, and is to be at the end */
    volatile sig_atomic_t changed; /* it has another mode now */
    bool taken;                    /* it is ours and has the mode that it needs */
    bool can_edit;                 /* lines are edited; the end of input ends that */
    bool hidden;                   /* a password is typed */
    bool drawn;                    /* EDITED: the half-typed line is on the screen */
    bool marks_pastes;             /* it says where a pasted text begins and ends */
} terminal;

static enum mode mode_now(void)
{
    return terminal.hidden ? HIDDEN : terminal.can_edit ? EDITED : PLAIN;
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

/* Asks the terminal to mark what is pasted, or to stop that, unless Ctrl+S holds it up. */
static void mark_pastes(bool wanted)
{
    const char *asked = wanted ? "\033[?2004h" : "\033[?2004l";
    if (wanted != terminal.marks_pastes && is_ready(STDOUT_FILENO, POLLOUT, 0) &&
        write(STDOUT_FILENO, asked, strlen(asked)) > 0)
        terminal.marks_pastes = wanted;
}

/*
 * Gives the terminal back as it was (HIDE-4, EDIT-8); a signal handler may call this. What was
 * typed of a password and not read yet is for no other program (HIDE-2).
 */
static void restore(void)
{
    if (!terminal.changed || !is_ours())
        return;
    if (terminal.hidden)
        tcflush(STDIN_FILENO, TCIFLUSH);
    mark_pastes(false);
    tcsetattr(STDIN_FILENO, TCSANOW, &terminal.before);
    terminal.changed = false;
}

/* Gives the terminal, which is ours, the mode that it needs. What was typed ahead stays. */
static void set_mode(void)
{
    enum mode mode = mode_now();
    if (mode == PLAIN) {
        restore();
        return;
    }
    if (!terminal.changed && tcgetattr(STDIN_FILENO, &terminal.before) < 0)
        return;
    struct termios wanted = terminal.before;
    wanted.c_lflag &= ~(tcflag_t)(ECHO | ECHONL);
    if (mode == HIDDEN && terminal.before.c_lflag & ECHO) /* without it, another shows our typing */
        wanted.c_lflag |= ECHONL;
    if (mode == EDITED) {
        wanted.c_lflag &= ~(tcflag_t)(ICANON | IEXTEN);
        wanted.c_iflag &= ~(tcflag_t)IXON; /* Ctrl+S searches; ICRNL stays: Enter is '\n' */
    }
    terminal.changed = true;
    tcsetattr(STDIN_FILENO, TCSANOW, &wanted);
    mark_pastes(mode == EDITED);
}

#ifdef LINE_EDITING

#include <limits.h>
#include <locale.h>
#include <readline/history.h>
#include <readline/readline.h>
#include <wchar.h>
#include <wctype.h>

#define HISTORY     500  /* lines that Up brings back */
#define NAMES       1000 /* names that TAB completes: those named last */
#define NAME_BYTES  33
#define KEY_BYTES   1024 /* the longest key, or answer of the terminal, that is understood */
#define ESCAPE_MS   500  /* after which Escape is a key of its own */
#define SEQUENCE_MS 2000 /* after which the rest of a longer sequence does not come any more */

/* What stands between the keys and readline, which has the half-typed line itself. */
static struct editor {
    void (*typed)(void *context, const char *line);
    void *context;
    const char *const *commands; /* NULL after the last */
    char names[NAMES][NAME_BYTES];
    size_t name_count;

    char key[KEY_BYTES]; /* the beginning of a key */
    size_t length;
    int64_t read_at;  /* when its last byte came, in ms */
    bool pasting;     /* keys are text, whatever they are */
    const char *next; /* what readline reads next */
    size_t left;      /* bytes of it */
    bool own;         /* the prompt is the client's own */
    int rows, width;  /* of the window, as readline was given them */
    bool one_row;     /* the line is higher than the window: it scrolls in one row */
} editor;

/* --- Drawing --- */

/* The columns that a text takes; a TAB, whose width depends on where it stands, counts as eight. */
static int columns_of(const char *text, size_t length)
{
    int columns = 0;
    wchar_t letter;
    mbstate_t state = {0};
    while (length > 0) {
        size_t n = mbrtowc(&letter, text, length, &state);
        if (n == 0 || n > length)
            break;
        int width = wcwidth(letter);
        columns += letter == '\t' ? 8 : width > 0 ? width : 0;
        text += n;
        length -= n;
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
    editor.width = size.ws_col > 3 ? size.ws_col : size.ws_col > 0 ? 4 : 80;
    rl_set_screen_size(editor.rows, editor.width);
}

/* Draws as readline does; a line that is higher than the window is drawn in one row (EDIT-1). */
static void redisplay(void)
{
    bool one_row = columns_to(rl_end) / editor.width >= editor.rows - 1;
    if (one_row != editor.one_row) {
        if (terminal.drawn)
            rl_clear_visible_line();
        editor.one_row = one_row;
        rl_variable_bind("horizontal-scroll-mode", one_row ? "on" : "off");
        rl_forced_update_display(); /* which comes here again */
    } else {
        rl_redisplay();
    }
}

/* Takes the half-typed line off the screen. */
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
static void set_prompt(const char *text, size_t length, bool own)
{
    char *prompt = strndup(text, length);
    if (!prompt)
        return;
    for (char *tab = prompt; (tab = strchr(tab, '\t'));)
        *tab = ' ';
    rl_set_prompt(prompt);
    free(prompt);
    editor.own = own;
    putchar('\r');
    rl_forced_update_display();
    fflush(stdout);
    terminal.drawn = true;
}

/* Puts the cursor below the line, which stays, unless it is an own prompt alone (EDIT-3). */
static void leave_line(void)
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
    if (!terminal.can_edit)
        return;
    int before = columns_to(rl_point) / editor.width;
    get_size();
    if (!terminal.drawn)
        return;
    int after = columns_to(rl_point) / editor.width;
    putchar('\r');
    for (int up = editor.one_row ? 0 : before < after ? before : after; up > 0; up--)
        fputs("\033[A", stdout);
    fputs("\033[J", stdout);
    rl_on_new_line();
    terminal.drawn = false;
}

/* --- Keys --- */

/* Whether these bytes are a whole key: a letter, a control character or an escape sequence. */
static bool is_whole(const char *key, size_t length)
{
    mbstate_t state = {0};
    char last = key[length - 1];
    if (*key != '\033')
        return mbrtowc(NULL, key, length, &state) != (size_t)-2;
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

/* Whether readline, or the user's .inputrc, has a use for an escape sequence. */
static bool is_bound(const char *key, size_t length)
{
    int type = ISKMAP;
    return rl_function_of_keyseq_len(key, length, NULL, &type) && type != ISKMAP;
}

/* Whether a key is text: not a control character such as U+0085, or a byte that is not UTF-8. */
static bool is_text(const char *key, size_t length)
{
    mbstate_t state = {0};
    wchar_t letter;
    size_t n = mbrtowc(&letter, key, length, &state);
    return n == length && *key && !iswcntrl((wint_t)letter);
}

/* Does what a pasted key wants: it is text, or the end of a line. */
static void paste(const char *key, size_t length)
{
    char text[MB_LEN_MAX + 1] = {0};
    if (*key == '\n' || *key == '\r') {
        feed("\n", 1);
    } else if (is_text(key, length) || *key == '\t') {
        memcpy(text, key, length);
        rl_insert_text(text);
        redisplay();
    }
}

/* Does what one key wants; an answer of the terminal, or a key that means nothing, is dropped. */
static void press(const char *key, size_t length)
{
    bool full = rl_end + (int)length > MOST_TYPED;
    bool text = is_text(key, length);
    if (length == 6 && memcmp(key, "\033[200~", 6) == 0)
        editor.pasting = true;
    else if (length == 6 && memcmp(key, "\033[201~", 6) == 0)
        editor.pasting = false;
    else if (*key == '\033' && !is_bound(key, length))
        return;
    else if (full && (text || *key == '\t'))
        return;
    else if (editor.pasting)
        paste(key, length);
    else if (*key == '\004' && rl_end == 0) /* end of input, whatever key came before */
        editor.typed(editor.context, NULL);
    else if (text || length > 1 || (unsigned char)*key < 0x80)
        feed(key, length);
}

/*
 * Milliseconds until a key that is not whole has to be dropped, by `read_line(false)`: an Escape
 * alone, or a sequence whose rest does not come. -1: there is none; half a letter has time.
 */
static int key_timeout(void)
{
    int64_t patience = editor.length == 1 ? ESCAPE_MS : SEQUENCE_MS;
    int64_t left = editor.read_at + patience - now_ms();
    if (editor.length == 0 || *editor.key != '\033')
        return -1;
    return left > 0 ? (int)left : 0;
}

/*
 * Takes what was typed, byte by byte; the rest stays in the terminal once a line has ended, until
 * the next one is drawn.
 */
static void read_line(bool readable)
{
    if (!readable)
        editor.length = 0;
    for (int i = 0; i < KEY_BYTES && readable && terminal.drawn && mode_now() == EDITED; i++) {
        char *next = editor.key + editor.length;
        ssize_t n = read(STDIN_FILENO, next, 1);
        if (n < 0 && (errno == EAGAIN || errno == EINTR || !is_ours()))
            break;
        if (n <= 0) {
            editor.typed(editor.context, NULL);
            return;
        }
        if (editor.length != 1 || *next != '\033') /* of several Escapes the last counts */
            editor.length++;
        if (is_whole(editor.key, editor.length) || editor.length == KEY_BYTES) {
            press(editor.key, editor.length);
            editor.length = 0;
        }
        editor.read_at = now_ms();
        readable = is_ready(STDIN_FILENO, POLLIN, 0);
    }
    fflush(stdout);
}

/* Passes on a line; readline has put the cursor below it. */
static void on_entered(char *line)
{
    if (!line)
        return;
    if (editor.one_row) /* now all of it is shown */
        printf("\033[A\r\033[K%s%s\n", rl_prompt, line);
    rl_set_prompt("");
    terminal.drawn = false;
    editor.typed(editor.context, line);
    free(line);
}

/* Up brings this line back. */
static void add_to_history(const char *line)
{
    const HIST_ENTRY *last = history_get(history_base + history_length - 1);
    if (*line && !(last && strcmp(last->line, line) == 0))
        add_history(line);
    using_history();
}

/* --- Completion --- */

static void forget_name(const char *name)
{
    size_t i = 0;
    while (i < editor.name_count && strcasecmp(editor.names[i], name) != 0)
        i++;
    if (i < editor.name_count)
        memmove(editor.names[i], editor.names[i + 1], (--editor.name_count - i) * NAME_BYTES);
}

/* Those who talk stand last, where they are found soon; with too many, the first goes. */
static void know_name(const char *name)
{
    if (editor.name_count > 0 && strcmp(editor.names[editor.name_count - 1], name) == 0)
        return;
    forget_name(name);
    if (editor.name_count == NAMES)
        memmove(editor.names[0], editor.names[1], --editor.name_count * NAME_BYTES);
    snprintf(editor.names[editor.name_count++], NAME_BYTES, "%s", name);
}

static void forget_names(void)
{
    editor.name_count = 0;
}

/* Gives the next command or name that begins as the word does; readline frees it. */
static char *next_match(const char *word, int state)
{
    static size_t i;
    bool command = *word == '/';
    for (i = state == 0 ? 0 : i; command ? editor.commands[i] != NULL : i < editor.name_count;) {
        const char *match = command ? editor.commands[i] : editor.names[i];
        i++;
        if (strncasecmp(match, word, strlen(word)) == 0)
            return strdup(match);
    }
    return NULL;
}

/* Completes a command at the beginning of the line, a name anywhere else. */
static char **complete(const char *word, int start, int end)
{
    (void)end;
    rl_attempted_completion_over = 1; /* no names of files */
    bool possible = *word && (*word != '/' || start == 0);
    return possible ? rl_completion_matches(word, next_match) : NULL;
}

/* --- Beginning and end --- */

/* readline reads the user's .inputrc; the terminal's mode, signals and input are our business. */
static void start_editing(void (*typed)(void *, const char *), void *context,
                          const char *const *commands)
{
    const char *term = getenv("TERM");
    if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO) || !term || !*term ||
        strcmp(term, "dumb") == 0 || !setlocale(LC_CTYPE, "C.UTF-8"))
        return;
    setenv("LC_ALL", "C.UTF-8", 1); /* readline goes by the environment */
    editor.typed = typed;
    editor.context = context;
    editor.commands = commands;
    rl_readline_name = "chat";
    rl_catch_signals = 0;
    rl_catch_sigwinch = 0;
    rl_change_environment = 0;
    rl_prep_term_function = NULL;
    rl_deprep_term_function = NULL;
    rl_getc_function = next_byte;
    rl_input_available_hook = has_next_byte;
    rl_attempted_completion_function = complete;
    rl_completer_word_break_characters = " ";
    rl_initialize();
    if (!rl_get_termcap("up")) /* a terminal that terminfo does not know */
        rl_reset_terminal("xterm");
    rl_redisplay_function = redisplay; /* not before, because then readline leaves all to us */
    rl_variable_bind("completion-ignore-case", "on");
    rl_variable_bind("completion-query-items", "0"); /* it would wait for the answer */
    rl_variable_bind("page-completions", "off");     /* likewise */
    rl_variable_bind("revert-all-at-newline", "on"); /* else a password may get into the history */
    rl_variable_bind("enable-bracketed-paste", "off");
    rl_tty_set_echoing(1);
    get_size();
    stifle_history(HISTORY);
    rl_callback_handler_install("", on_entered);
    terminal.can_edit = true;
}

/* Drops what is half typed. */
static void drop_line(void)
{
    if (!terminal.can_edit)
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
#define start_editing(typed, context, commands) ((void)(typed), (void)(context), (void)(commands))
#define take_off()                              ((void)0)
#define set_prompt(text, length, own)           ((void)(text), (void)(length), (void)(own))
#define leave_line()                            ((void)0)
#define drop_line()                             ((void)0)
#define on_resized()                            ((void)0)
#define key_timeout()                           (-1)
#define read_line(readable)                     ((void)(readable))
#define add_to_history(line)                    ((void)(line))
#define know_name(name)                         ((void)(name))
#define forget_name(name)                       ((void)(name))
#define forget_names()                          ((void)0)

#endif

/* Writes lines above the half-typed one; gives what `write` gives. */
static ssize_t print_above(const char *bytes, size_t length)
{
    take_off();
    return write(STDOUT_FILENO, bytes, length);
}

/* Once the terminal is ours, gives it the mode that it needs; each round of the loop asks. */
static void take_terminal(void)
{
    bool ours = is_ours();
    if (ours && !terminal.taken)
        set_mode();
    if (!ours)
        terminal.drawn = false;
    terminal.taken = ours;
}

/* From here on what is typed is a password (HIDE-1); what is half typed is none. */
static void hide_typing(void)
{
    if (terminal.hidden)
        return;
    drop_line();
    terminal.hidden = true;
    terminal.taken = false;
}

/* ... and now it is not. What is half typed stays: the caller drops it if it may be secret. */
static void show_typing(void)
{
    if (!terminal.hidden)
        return;
    terminal.hidden = false;
    terminal.taken = false;
}

/* From here on lines are plain: the input has ended, or the program ends. */
static void end_editing(void)
{
    leave_line();
    restore();
    terminal.can_edit = false;
}

/* Stops as the user wishes (Ctrl+Z), with the terminal as it was; returns once we may go on. */
static void stop_here(void)
{
    struct sigaction ours, plain = {.sa_handler = SIG_DFL};
    leave_line();
    restore();
    sigaction(SIGTSTP, &plain, &ours);
    raise(SIGTSTP);
    sigaction(SIGTSTP, &ours, NULL);
    terminal.taken = false;
}

#endif
