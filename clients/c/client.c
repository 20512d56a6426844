/*
 * chat_client: a chat client for a terminal or a pipe. PROTOCOL.md is its contract.
 *
 *     gcc -o chat_client client.c && ./chat_client        (--help lists the options)
 *     gcc -DLINE_EDITING -o chat_client client.c -lreadline        (with GNU readline's editing)
 *
 * The two paths of a line:
 *
 *     keyboard -> typed -> outbox -> server
 *     server -> screen
 *
 * The phases, with a reconnection:
 *
 *     ASKED -> JOINED -> AWAY -> RETURNING -> JOINED
 *
 * Invariants:
 *  1. The loop waits only in `poll`, and a second thread reconnects, so neither direction waits for
 *     the other, and Ctrl+C always works. Only drawing a line may block, on a terminal that Ctrl+S
 *     has stopped; then an alarm ends the program.
 *  2. Buffers are bounded: while a buffer is full, its source is not read.
 *  3. Only `show` writes text from the server to the screen, and sanitizes it.
 *  4. A line leaves the outbox when all of it was sent. Lines typed without a connection are in
 *     `kept`, and enter the outbox after the welcome, so they never answer a prompt.
 *  5. The terminal's mode is restored, however the program ends or is stopped (terminal.h).
 *
 * Exit status: 0 ended by the user, or by the server in order; 1 the connection failed or was
 * refused; 2 the command line is wrong.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/param.h>
#include <sys/socket.h>
#include <unistd.h>

#include "options.h"
#include "terminal.h"

/* ---- 1. Limits ------------------------------------------------------------------------------ */

#define MAX_WAITING       (64 * 1024) /* bytes in a queue; with as many, its source is not read */
#define READ_SIZE         (16 * 1024) /* bytes read in one system call */
#define LINE_KEPT         1280        /* bytes kept of a server's line: two names and a text fit */
#define MAX_LINE          1024        /* bytes that a server accepts as one line */
#define NAME_SIZE         33          /* a name, and a NUL */
#define SECRET_SIZE       96          /* the longest password, and a NUL */
#define MAX_ANSWERS       64    /* lines sent before the welcome; no server asks over 12 times */
#define MAX_OFFERS        64    /* account commands without a reply yet */
#define MAX_PROMPT        2048  /* bytes of a server's incomplete line that are shown as a prompt */
#define MAX_ADDRESSES     32    /* of one host */
#define NEXT_MS           1000  /* for an address to answer, before the next one is tried, too */
#define TRY_MS            30000 /* to connect; when reconnecting, also to be welcomed */
#define CLOSE_MS          1000  /* for the server to end its side after we have ended ours */
#define SAY_MS            500   /* for standard error to accept a line */
#define END_SECONDS       2     /* to end the program after a signal */
#define LOOK_MS           1000  /* between two checks whether we are in the foreground */
#define MAX_RETRY_SECONDS 30
#define NEVER             INT64_MAX

#define NAME "%32[A-Za-z0-9_-]" /* for sscanf (JOIN-2) */

static const char PROMPT[] = "Enter your screen name: ";
static const char PASSWORD_PROMPT[] = "Password: ";

/* ---- 2. Types ------------------------------------------------------------------------------- */

/* The state of the conversation with the server. */
enum phase {
    ASKED,     /* never welcomed yet: the user answers the prompts */
    JOINED,    /* welcomed */
    AWAY,      /* the connection was lost: waiting for the next attempt, or connecting */
    RETURNING, /* connected again, not welcomed yet: the client answers the prompts */
};

/* A buffer for one direction. */
struct queue {
    size_t length;
    char bytes[MAX_WAITING + 8 * READ_SIZE]; /* with space for what one round may add */
};

/* One connection. */
struct link {
    int fd;        /* -1 in the phase AWAY */
    size_t sent;   /* bytes of the outbox that were sent, but are not a complete line yet */
    bool sent_all; /* the input has ended, and we have ended our side */
    bool broken;   /* sending has failed, or the server has reset the connection */
    bool refused;  /* the attempt to reconnect has failed: we have ended our side */
    bool ended;    /* closed by the server, or the attempt to reconnect has failed */

    size_t length;             /* of `line` */
    char line[LINE_KEPT];      /* the server's incomplete line, without prompts, up to LINE_KEPT */
    char last_line[LINE_KEPT]; /* its last complete line, likewise */
    bool cut;                  /* `line` has more bytes than LINE_KEPT */
    bool halfway;              /* the last byte from the server was not a line end */
    size_t prompts;            /* that it has sent */
    const char *asked;         /* the last prompt */
    size_t answered;           /* how many `answers` there are */
    char answers[MAX_ANSWERS][SECRET_SIZE]; /* the first lines sent before the welcome */

    size_t held_length;
    char held[4]; /* an incomplete character, or a CR that may belong to a line end */
};

/* All state of the client. */
struct client {
    struct options options;
    struct link link;
    enum phase phase;
    const char *answer; /* --name answers the prompt, until it is refused; then NULL */

    struct queue typed;  /* an incomplete line */
    struct queue outbox; /* lines to send */
    struct queue kept;   /* lines typed while there is no connection */
    bool forgets;        /* drop the next line: it may be a password (BACK-10) */
    bool typed_all;      /* the input has ended */
    struct queue screen; /* text for standard output */
    size_t prompted;     /* bytes of it on the screen, as the prompt of the half-typed line */

    char name[NAME_SIZE];        /* our name, or the last one; empty before the first welcome */
    char proven[SECRET_SIZE];    /* the password that the server accepted last, and ... */
    char proven_name[NAME_SIZE]; /* ... its name */
    size_t offered;              /* how many `offers` there are */
    char offers[MAX_OFFERS][SECRET_SIZE]; /* passwords in account commands without a reply yet */

    int tries;        /* attempts to reconnect since the last welcome */
    int64_t deadline; /* AWAY: for the next attempt; RETURNING: for its end */
    int tried;        /* the descriptor that the attempt has connected, or -1 */

    int status;     /* the exit status; -1 while the program runs */
    char words[64]; /* the final message */
};

/* Declared here, because sections 3 to 5 call them. */
static void pass_on(struct client *client, const char *bytes, size_t length);
static void remember(struct client *client, const char *line, size_t length);
static bool has_no_answer(const struct client *client);
static bool is_away(const struct client *client);
static void lose(struct client *client);
static void end_row(struct client *client);
static void answer_prompt(struct client *client);
static void come_back(struct client *client, const char *line, const char *welcomed);
static void end(struct client *client, const char *words, int status);

/* Appends bytes. There is always space, because a source is not read at MAX_WAITING. */
static void put(struct queue *queue, const char *bytes, size_t length)
{
    memcpy(queue->bytes + queue->length, bytes, length);
    queue->length += length;
}

/* Removes bytes from the front. */
static void consume(struct queue *queue, size_t length)
{
    queue->length -= length;
    memmove(queue->bytes, queue->bytes + length, queue->length);
}

/* Returns the length of all complete lines. */
static size_t whole_lines(const char *bytes, size_t length)
{
    const char *end = memrchr(bytes, '\n', length);
    return end ? (size_t)(end - bytes) + 1 : 0;
}

/* Returns the length of the first line with its end, or of all bytes if it is incomplete. */
static size_t piece_length(const char *bytes, size_t length)
{
    const char *end = memchr(bytes, '\n', length);
    return end ? (size_t)(end - bytes) + 1 : length;
}

static bool begins(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

/* ---- 3. Screen ------------------------------------------------------------------------------ */

/* C0 except TAB, DEL, C1, line separators, bidirectional controls (FRAME-6), and BROKEN. */
static bool is_control(uint32_t code)
{
    return (code < 0x20 && code != '\t') || (code >= 0x7F && code <= 0x9F) ||
           (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069) ||
           code > 0x10FFFF;
}

/* Shows text from the server, READ_SIZE bytes at the most, sanitized (CLIENT-6). An incomplete
 * character and a carriage return are held until more arrives; `last` says that nothing follows. */
static void show(struct client *client, const char *bytes, size_t length, bool last)
{
    struct link *link = &client->link;
    char all[sizeof link->held + READ_SIZE];
    const char *end = mempcpy(mempcpy(all, link->held, link->held_length), bytes, length);
    const char *next = all;
    uint32_t code;
    for (size_t n; next < end; next += n) {
        size_t left = (size_t)(end - next);
        n = decode(next, left, &code);
        if ((n == 0 || (left == 1 && code == '\r')) && !last)
            break;
        n = n > 0 ? n : left;
        if (left > 1 && next[0] == '\r' && next[1] == '\n')
            continue;
        if (is_control(code) && code != '\n')
            put(&client->screen, "\xEF\xBF\xBD", 3); /* U+FFFD */
        else
            put(&client->screen, next, n);
    }
    link->held_length = (size_t)(end - next);
    memcpy(link->held, next, link->held_length);
}

/* Writes to standard error, above the half-typed line. After standard error has not accepted text
 * for SAY_MS, text that it does not accept at once is lost. */
static void say(const char *bytes, size_t length)
{
    static bool stuck;
    take_off();
    while (length > 0 && is_ready(STDERR_FILENO, POLLOUT, stuck ? 0 : SAY_MS)) {
        ssize_t n = write(STDERR_FILENO, bytes, MIN(length, PIPE_BUF));
        if (n <= 0)
            return;
        bytes += n;
        length -= (size_t)n;
    }
    stuck = length > 0;
}

/* Writes a message to standard error. */
static void __attribute__((format(printf, 1, 2))) announce(const char *format, ...)
{
    char *text;
    va_list arguments;
    va_start(arguments, format);
    int length = vasprintf(&text, format, arguments);
    va_end(arguments);
    if (length < 0)
        return;
    say(text, (size_t)length);
    free(text);
}

/* Whether a system call has failed that can be repeated. */
static bool is_for_now(void)
{
    return errno == EAGAIN || errno == EINTR;
}

/* Whether to write to standard output: in the background, an editor waits (EDIT-5). */
static bool may_show(void)
{
    return !terminal.edits || terminal.ours;
}

/* Whether the screen has all text from the server, so that our messages may follow it. */
static bool has_shown_all(const struct client *client)
{
    return may_show() && client->screen.length == client->prompted;
}

/* Whether there is something to write or draw. */
static bool has_to_write(const struct client *client)
{
    return may_show() && (!has_shown_all(client) || (is_editing() && !terminal.drawn));
}

/* Draws the half-typed line after its prompt: the server's incomplete line, or our own (EDIT-2). */
static void draw_line(struct client *client)
{
    char own[NAME_SIZE + sizeof " (away)> "] = "";
    if (*client->name)
        snprintf(own, sizeof own, "%s%s> ", client->name, client->phase == JOINED ? "" : " (away)");
    take_off();
    client->prompted = client->screen.length;
    if (client->prompted > 0)
        draw(client->screen.bytes, client->prompted, false);
    else
        draw(own, strlen(own), true);
}

/* Writes text to standard output while a password is typed. An incomplete line also stays in the
 * queue: it may become the prompt of a line to edit. */
static void write_as_it_is(struct client *client)
{
    struct queue *screen = &client->screen;
    size_t length = MIN(screen->length - client->prompted, PIPE_BUF);
    ssize_t n = write(STDOUT_FILENO, screen->bytes + client->prompted, length);
    if (n < 0 && !is_for_now())
        end(client, "", EXIT_FAILURE); /* CLIENT-10 */
    client->prompted += n > 0 ? (size_t)n : 0;
    size_t done = whole_lines(screen->bytes, client->prompted);
    if (done == 0 && client->prompted > MAX_PROMPT)
        done = client->prompted;
    consume(screen, done);
    client->prompted -= done;
}

/* Writes text to standard output, PIPE_BUF bytes at the most, which a writable pipe takes without
 * blocking. While lines are edited, an incomplete line waits, to be drawn as a prompt. */
static void write_screen(struct client *client)
{
    struct queue *screen = &client->screen;
    size_t length = is_editing() ? whole_lines(screen->bytes, screen->length) : screen->length;
    if (terminal.edits && terminal.hidden) {
        write_as_it_is(client);
        return;
    }
    if (client->prompted > 0 && !terminal.drawn)
        putchar('\r'); /* write_as_it_is has written it; write it again in the same row */
    client->prompted = 0;
    if (length == 0 && screen->length > MAX_PROMPT)
        length = screen->length;
    if (length == 0) {
        draw_line(client);
        return;
    }
    ssize_t n = print_above(screen->bytes, MIN(length, PIPE_BUF));
    if (n > 0)
        consume(screen, (size_t)n);
    else if (!is_for_now())
        end(client, "", EXIT_FAILURE); /* CLIENT-10 */
}

/* Forgets the server's incomplete line, which stays on the screen or is erased as a prompt. */
static void forget_row(struct client *client)
{
    take_off();
    consume(&client->screen, client->prompted);
    client->prompted = 0;
}

/* ---- 4. Connection -------------------------------------------------------------------------- */

/* Sends small lines without delay (FRAME-9), and notices a server that has vanished. */
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

/* Starts to connect to one address; -1 where that fails at once. */
static int connect_to(const struct addrinfo *address, int *error)
{
    int type = address->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK;
    int fd = socket(address->ai_family, type, address->ai_protocol);
    if (fd >= 0) {
        prepare(fd);
        if (connect(fd, address->ai_addr, address->ai_addrlen) == 0 || errno == EINPROGRESS)
            return fd;
    }
    *error = errno;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Returns 0 or an error. A connection to ourselves counts as refused (CLIENT-9). */
static int connection_error(int fd)
{
    struct sockaddr_storage ours = {0}, theirs = {0};
    socklen_t length = sizeof ours;
    int error = 0;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &(socklen_t){sizeof error});
    if (error)
        return error;
    getsockname(fd, (struct sockaddr *)&ours, &length);
    if (getpeername(fd, (struct sockaddr *)&theirs, &length) < 0)
        return errno;
    return memcmp(&ours, &theirs, sizeof ours) == 0 ? ECONNREFUSED : 0;
}

/* Returns a connection that has succeeded, or -1; closes those that have failed. */
static int take_made(struct pollfd *tries, nfds_t *count, int *error)
{
    for (nfds_t i = *count; i-- > 0;) {
        int fd = tries[i].fd;
        if (!tries[i].revents)
            continue;
        tries[i] = tries[--*count];
        *error = connection_error(fd);
        if (!*error)
            return fd;
        close(fd);
    }
    return -1;
}

/* Connects to the first address of the host that answers; -1, with the reason, where none does.
 * Where one fails or does not answer soon, the next one is tried in parallel (CLIENT-7). */
static int connect_any(const struct options *options, const char **reason)
{
    struct addrinfo *found, hints = {.ai_socktype = SOCK_STREAM};
    struct pollfd tries[MAX_ADDRESSES];
    nfds_t count = 0;
    int fd = -1, error = ETIMEDOUT;
    int failure = getaddrinfo(options->host, options->port, &hints, &found);
    if (failure) {
        *reason = gai_strerror(failure);
        return -1;
    }
    const struct addrinfo *next = found;
    int64_t left, end = now_ms() + TRY_MS;
    while (fd < 0 && (next || count > 0) && (left = end - now_ms()) > 0) {
        if (next) {
            int begun = connect_to(next, &error);
            if (begun >= 0)
                tries[count++] = (struct pollfd){.fd = begun, .events = POLLOUT};
            next = count < MAX_ADDRESSES ? next->ai_next : NULL;
        }
        if (count > 0 && poll(tries, count, next ? NEXT_MS : (int)left) > 0)
            fd = take_made(tries, &count, &error);
    }
    while (count > 0)
        close(tries[--count].fd);
    freeaddrinfo(found);
    *reason = strerrordesc_np(error);
    return fd;
}

/* Whether there is something to send. */
static bool has_unsent(const struct client *client)
{
    const struct link *link = &client->link;
    bool may_send = link->fd >= 0 && !link->broken && !link->ended && !link->refused;
    return may_send && client->outbox.length > link->sent;
}

/* Sends the outbox; after the end of the input, ends our side. A line that was sent only in part
 * stays in the outbox, to be sent again on the next connection. Of a line that is too long, a part
 * is enough: the server will refuse it again. */
static void send_typed(struct client *client)
{
    struct link *link = &client->link;
    struct queue *outbox = &client->outbox;
    if (has_unsent(client)) {
        const char *unsent = outbox->bytes + link->sent;
        ssize_t n = send(link->fd, unsent, outbox->length - link->sent, MSG_NOSIGNAL);
        link->broken = n < 0 && !is_for_now(); /* what the server has sent can still be received */
        link->sent += n > 0 ? (size_t)n : 0;
        size_t done = whole_lines(outbox->bytes, link->sent);
        if (link->sent - done > MAX_LINE + 1)
            done = link->sent - (MAX_LINE + 1);
        consume(outbox, done);
        link->sent -= done;
    }
    bool said_all = client->typed_all && outbox->length + client->kept.length == 0;
    if (said_all && !is_away(client) && !link->broken && !link->ended && !link->sent_all) {
        link->broken = shutdown(link->fd, SHUT_WR) < 0;
        link->sent_all = !link->broken;
    }
}

/* Ends our side, and discards input until the server ends its side. Closing a connection with
 * unread input would reset it (CLIENT-2). */
static void close_in_order(int fd)
{
    char bytes[READ_SIZE];
    int64_t left, end = now_ms() + CLOSE_MS;
    if (fd < 0)
        return;
    shutdown(fd, SHUT_WR);
    while ((left = end - now_ms()) > 0 && is_ready(fd, POLLIN, (int)left)) {
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        if (n == 0 || (n < 0 && !is_for_now()))
            break;
    }
    close(fd);
}

/* ---- 5. From the server --------------------------------------------------------------------- */

/* Removes the prompts from the front of the line; returns whether there was one. A prompt has no
 * line end, so the server's next text follows on the same line. No message of a user can look like
 * a prompt, because the name Password is reserved (JOIN-3). */
static bool take_prompts(struct link *link)
{
    static const char *const prompts[] = {PROMPT, PASSWORD_PROMPT};
    size_t before = link->prompts;
    for (size_t i = 0; i < 2; i++)
        while (begins(link->line, prompts[i])) {
            link->length -= strlen(prompts[i]);
            memmove(link->line, link->line + strlen(prompts[i]), link->length + 1);
            link->prompts++;
            link->asked = prompts[i];
        }
    return link->prompts > before;
}

/* Answers the first prompt of a connection with --name, until it is refused (CLIENT-8). */
static void give_name(struct client *client)
{
    const char *name = client->answer;
    if (client->link.prompts > 1) {
        client->answer = NULL;
        return;
    }
    pass_on(client, name, strlen(name));
    pass_on(client, "\n", 1);
    show(client, name, strlen(name), false);
    show(client, "\n", 1, false);
}

/* Shows typing again, and drops a half-typed password (HIDE-2). */
static void end_hiding(struct client *client)
{
    if (terminal.hidden) {
        drop_typed();
        client->typed.length = 0;
    }
    show_typing();
}

/* Answers the pending prompt where the client can; hides the typing of a password. */
static void on_prompt(struct client *client)
{
    const char *asked = client->link.asked;
    if (client->phase == RETURNING && *client->name) {
        answer_prompt(client);
        return;
    }
    if (client->phase == RETURNING) { /* lost before the first welcome (BACK-10) */
        client->phase = ASKED;
        client->deadline = NEVER;
        show(client, asked, strlen(asked), false);
    }
    client->forgets = false;
    if (asked == PASSWORD_PROMPT) {
        if (!terminal.hidden)
            client->prompted = 0; /* hide_typing erases it, so write it again */
        hide_typing();
        return;
    }
    end_hiding(client);
    if (client->answer)
        give_name(client);
}

/* Remembers the password that was accepted, with its name (BACK-3). */
static void keep_password(struct client *client, const char *password)
{
    strcpy(client->proven, password);
    strcpy(client->proven_name, client->name);
}

/* Handles the welcome: remembers the password that was accepted, and sends the kept lines. Lines
 * sent ahead of the welcome that answered no prompt may be account commands. */
static void enter(struct client *client, const char *name)
{
    struct link *link = &client->link;
    bool answered = link->asked == PASSWORD_PROMPT && link->prompts <= link->answered;
    strcpy(client->name, name);
    if (client->phase == ASKED && answered)
        keep_password(client, link->answers[link->prompts - 1]);
    client->phase = JOINED;
    for (size_t i = link->prompts; i < link->answered; i++)
        remember(client, link->answers[i], strlen(link->answers[i]));
    client->answer = NULL;
    client->tries = 0;
    client->deadline = NEVER;
    show_typing();
    pass_on(client, client->kept.bytes, client->kept.length);
    client->kept.length = 0;
}

/* Whether a line is a rename notice. */
static bool is_rename(const char *line, char old[NAME_SIZE], char new[NAME_SIZE])
{
    char more;
    return sscanf(line, NAME " is now known as " NAME "%c", old, new, &more) == 2;
}

/* Whether a line is `words` and our name. */
static bool is_about_us(const struct client *client, const char *line, const char *words)
{
    return begins(line, words) && strcmp(line + strlen(words), client->name) == 0;
}

/* Whether a line, which ends at '\n' or '\0', is a command. */
static bool is_command(const char *line, const char *word)
{
    size_t length = strlen(word);
    return strncasecmp(line, word, length) == 0 && strchr(" \r\n", line[length]);
}

static bool has_password(const char *line)
{
    return is_command(line, "/register") || is_command(line, "/passwd");
}

/* Whether a command may change our name or our password. */
static bool is_account_command(const char *line)
{
    return has_password(line) || is_command(line, "/unregister") || is_command(line, "/nick");
}

/* Whether a reply refuses such a command. */
static bool is_refusal(const char *line)
{
    static const char unknown[] = "! unknown command: ";
    static const char *const refusals[] = {"! invalid name: ",    "! name in use: ",
                                           "! name registered: ", "! password must ",
                                           "! not registered: ",  "! name not registered: ",
                                           "! accounts cannot ",  "! already registered: "};
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        if (begins(line, refusals[i]))
            return true;
    return begins(line, unknown) && is_account_command(line + strlen(unknown));
}

/* Notices a new name or password of ours. The server replies to commands in order. */
static void follow_name(struct client *client, const char *line)
{
    char old[NAME_SIZE], new[NAME_SIZE];
    bool renamed = is_rename(line, old, new) && strcmp(old, client->name) == 0;
    bool changed =
        strcmp(line, "Password changed") == 0 || is_about_us(client, line, "Registered ");
    bool removed = is_about_us(client, line, "Unregistered ");
    if (renamed)
        strcpy(client->name, new);
    if (changed || removed)
        keep_password(client, changed && client->offered > 0 ? client->offers[0] : "");
    if ((renamed || changed || removed || is_refusal(line)) && client->offered > 0)
        memmove(client->offers, client->offers + 1, --client->offered * SECRET_SIZE);
}

/* Notices who is in the room, for TAB (EDIT-6). */
static void follow_others(const char *line)
{
    char name[NAME_SIZE], new[NAME_SIZE];
    int n = 0;
    if (sscanf(line, "Online (%*u):%n", &n) == 0 && n > 0) {
        for (line += n; sscanf(line, " " NAME "%n", name, &n) == 1; line += *line == ',') {
            know(name);
            line += n;
        }
    } else if (is_rename(line, name, new)) {
        forget(name);
        know(new);
    } else if (!begins(line, "Commands: ") && !begins(line, "server: ")) {
        line += begins(line, "(private) ") ? strlen("(private) ") : 0;
        bool named = sscanf(line, NAME "%n", name, &n) == 1;
        if (named && strcmp(line + n, " has left the chat") == 0)
            forget(name);
        else if (named && (begins(line + n, ": ") || strcmp(line + n, " has joined the chat") == 0))
            know(name);
    }
}

/* Handles a complete line from the server. */
static void on_line(struct client *client, const char *line)
{
    char name[NAME_SIZE], next;
    bool welcomed = sscanf(line, "Welcome, " NAME " %c", name, &next) == 2 && next == '(';
    if (client->phase == RETURNING) {
        come_back(client, line, welcomed ? name : NULL);
    } else if (client->phase == JOINED) {
        follow_name(client, line);
        follow_others(line);
    } else if (welcomed) {
        enter(client, name);
    }
}

/* Keeps a piece of the server's line, with \1 for a NUL, which would end it; returns whether there
 * was a prompt in front of it. When reconnecting, what is too long to be kept, and so is no prompt,
 * is shown as it comes. */
static bool keep_piece(struct client *client, const char *piece, size_t length)
{
    struct link *link = &client->link;
    char *end = link->line + link->length, *nul;
    size_t kept = link->cut ? 0 : MIN(length, sizeof link->line - 1 - link->length);
    *(char *)mempcpy(end, piece, kept) = '\0';
    while ((nul = memchr(end, '\0', kept)))
        *nul = '\1';
    link->length += kept;
    bool prompted = client->phase != JOINED && take_prompts(link);
    if (client->phase == RETURNING && kept < length) {
        show(client, link->line, link->cut ? 0 : link->length, false);
        show(client, piece + kept, length - kept, false);
    }
    link->cut = link->cut || kept < length;
    return prompted;
}

/* Shows and handles a line, or a piece of one; when reconnecting, handles it first. */
static void on_server(struct client *client, const char *piece, size_t length)
{
    struct link *link = &client->link;
    link->halfway = piece[length - 1] != '\n';
    if (client->phase != RETURNING)
        show(client, piece, length, false);
    bool prompted = keep_piece(client, piece, link->halfway ? length : length - 1);
    if (link->halfway) {
        if (prompted && link->length == 0)
            on_prompt(client);
        return;
    }
    if (link->length > 0 && link->line[link->length - 1] == '\r')
        link->line[link->length - 1] = '\0';
    strcpy(link->last_line, link->line);
    link->length = 0;
    on_line(client, link->last_line);
    link->cut = false;
}

/* Receives once from the server, and handles that line by line, and its end. */
static void receive(struct client *client)
{
    struct link *link = &client->link;
    char bytes[READ_SIZE];
    ssize_t n = recv(link->fd, bytes, sizeof bytes, 0);
    if (n < 0 && is_for_now())
        return;
    size_t length, left = n > 0 ? (size_t)n : 0;
    for (const char *next = bytes; left > 0 && !link->refused; next += length, left -= length) {
        length = piece_length(next, left);
        on_server(client, next, length);
    }
    if (n <= 0) {
        link->ended = true;
        link->broken = link->broken || n < 0;
        show(client, "", 0, true);
        end_row(client);
        end_hiding(client);
    }
}

/* Decides from the server's last line whether the program ends or reconnects (CLIENT-5). */
static void ending(struct client *client)
{
    const struct link *link = &client->link;
    const char *last = is_away(client) ? "" : link->last_line;
    bool peace = strcmp(link->last_line, "Server is shutting down") == 0;
    if (peace || begins(last, "Goodbye, "))
        end(client, "Disconnected\n", EXIT_SUCCESS);
    else if (strcmp(last, "! too many attempts") == 0 || strcmp(last, "! timed out") == 0 ||
             strcmp(last, "! server full") == 0 || strcmp(last, "! kicked by the operator") == 0)
        end(client, "Disconnected\n", EXIT_FAILURE);
    else if (link->sent_all && !link->broken)
        end(client, "", EXIT_SUCCESS);
    else if (client->options.retries == 0 || link->sent_all || has_no_answer(client))
        end(client, "Connection lost\n", EXIT_FAILURE);
    else
        lose(client);
}

/* Whether to receive from the server: only after everything is on the screen, because otherwise a
 * flood of messages would delay the keys. */
static bool may_hear(const struct client *client)
{
    return client->link.fd >= 0 && !client->link.ended && has_shown_all(client);
}

/* ---- 6. From the keyboard ------------------------------------------------------------------- */

/* Whether a server accepts a line (FRAME-4 to FRAME-6). */
static bool is_good(const char *line, size_t length)
{
    bool good = length <= MAX_LINE;
    uint32_t code;
    for (size_t n; good && length > 0; line += n, length -= n) {
        n = decode(line, length, &code);
        good = n > 0 && !is_control(code);
    }
    return good;
}

/* Remembers a line that may have a password, until the server's reply to it. A line that the server
 * refuses by FRAME-4 to FRAME-6 gets another reply. */
static void remember(struct client *client, const char *line, size_t length)
{
    struct link *link = &client->link;
    if (length > 0 && line[length - 1] == '\r')
        length--;
    if (client->phase == ASKED && link->answered < MAX_ANSWERS)
        snprintf(link->answers[link->answered++], SECRET_SIZE, "%.*s", (int)length, line);
    if (client->phase != JOINED || client->offered == MAX_OFFERS || !is_account_command(line) ||
        !is_good(line, length))
        return;
    size_t word = strcspn(line, " \r\n");
    size_t start = has_password(line) ? word + strspn(line + word, " ") : length;
    snprintf(client->offers[client->offered++], SECRET_SIZE, "%.*s", (int)(length - start),
             line + start);
}

/* Appends lines, or a piece of one, to the outbox. */
static void pass_on(struct client *client, const char *bytes, size_t length)
{
    put(&client->outbox, bytes, length);
    for (size_t n; length > 0; bytes += n, length -= n) {
        n = piece_length(bytes, length);
        if (bytes[n - 1] == '\n')
            remember(client, bytes, n - 1);
    }
}

/* Sends a typed line, keeps it while there is no connection, or drops it. A line that is longer
 * than MAX_WAITING comes in pieces. */
static void on_typed(struct client *client, const char *line, size_t length)
{
    if (client->forgets)
        client->forgets = false;
    else if (is_away(client) && is_command(line, "/quit"))
        end(client, "Disconnected\n", EXIT_SUCCESS);
    else if (is_away(client))
        put(&client->kept, line, length);
    else
        pass_on(client, line, length);
}

/* Handles an edited line, with its end; returns whether the history may keep it (HIDE-3). */
static bool on_edited(void *context, const char *line, size_t length)
{
    struct client *client = context;
    bool keep = *client->name && !has_password(line);
    forget_row(client);
    on_typed(client, line, length);
    return keep;
}

/* Handles input: keys or lines. An incomplete last line gets a line end (CLIENT-1). */
static void on_input(struct client *client)
{
    struct queue *typed = &client->typed;
    ssize_t n = 0;
    if (!is_editing())
        n = read(STDIN_FILENO, typed->bytes + typed->length, READ_SIZE);
    else if (!read_line())
        return;
    if (n < 0 && (is_for_now() || !is_ours()))
        return;
    if (n > 0) {
        typed->length += (size_t)n;
    } else {
        client->typed_all = true;
        end_editing();
        forget_row(client);
        if (typed->length > 0)
            put(typed, "\n", 1);
    }
    size_t ready = whole_lines(typed->bytes, typed->length);
    if (ready > 0 && terminal.hidden)
        forget_row(client); /* the terminal has moved the cursor below it */
    if (ready == 0 && typed->length >= MAX_WAITING)
        ready = typed->length - 1; /* the last byte waits for the line end */
    for (size_t at = 0, length; at < ready; at += length) {
        length = piece_length(typed->bytes + at, ready - at);
        on_typed(client, typed->bytes + at, length);
    }
    consume(typed, ready);
    if (is_away(client) && has_no_answer(client))
        end(client, "Connection lost\n", EXIT_FAILURE);
}

/* Whether a prompt for the name cannot be answered: the input has ended. */
static bool has_no_answer(const struct client *client)
{
    return client->typed_all && !*client->name && !client->answer;
}

/* Whether there is space for more input, and --name was sent (CLIENT-8). While lines are edited,
 * the half-typed one must be on the screen. */
static bool may_read(const struct client *client)
{
    const struct link *link = &client->link;
    bool full = client->outbox.length + client->kept.length >= MAX_WAITING;
    bool early = link->broken || link->ended || (client->answer && link->prompts == 0);
    return terminal.ours && !client->typed_all && !full && (is_away(client) || !early) &&
           !(is_editing() && has_to_write(client));
}

/* ---- 7. Away and back ----------------------------------------------------------------------- */

/* Whether the connection was lost and we are not welcomed again: typed lines are kept. */
static bool is_away(const struct client *client)
{
    return client->phase == AWAY || client->phase == RETURNING;
}

/* Whether a password was asked for, and not typed yet. */
static bool is_at_password(const struct client *client)
{
    const struct link *link = &client->link;
    return client->phase == ASKED && link->asked == PASSWORD_PROMPT &&
           link->prompts > link->answered;
}

/* Ends the server's incomplete line, but not a prompt for a name that is being typed. */
static void end_row(struct client *client)
{
    bool begun = client->link.length > 0 || is_at_password(client);
    if (terminal.edits && client->link.halfway && begun && client->phase != RETURNING)
        put(&client->screen, "\n", 1);
}

/* Keeps the lines that were not sent, unless they answered prompts. If a password was asked for and
 * not typed yet, drops the next line (BACK-10). */
static void keep_unsent(struct client *client)
{
    if (client->phase == JOINED) {
        put(&client->kept, client->outbox.bytes, client->outbox.length);
        client->offered = 0;
        forget_names();
    } else if (client->phase == ASKED) {
        client->forgets = is_at_password(client) || client->typed.length > 0;
        client->typed.length = 0;
    }
    client->outbox.length = 0;
}

/* Announces an attempt to reconnect, with the delay as BACK-1 requires. */
static void announce_try(const struct client *client, double seconds)
{
    char delay[32];
    int length = snprintf(delay, sizeof delay, "%.9f", seconds);
    while (delay[length - 1] == '0')
        length--;
    if (delay[length - 1] == '.')
        length--;
    announce("Connection lost, retrying in %.*s s (%d of %d)\n", length, delay, client->tries,
             client->options.retries);
}

/* Starts to wait for the next attempt (BACK-1), or gives up after the last one (BACK-6). */
static void lose(struct client *client)
{
    char words[sizeof client->words];
    if (client->link.fd >= 0)
        close(client->link.fd);
    keep_unsent(client);
    client->phase = AWAY;
    client->link = (struct link){.fd = -1};
    if (client->tries == client->options.retries) {
        snprintf(words, sizeof words, "Giving up after %d attempts\n", client->tries);
        end(client, words, EXIT_FAILURE);
        return;
    }
    double delay = ldexp(client->options.retry_delay, client->tries++); /* doubled each time */
    delay = MIN(delay, MAX_RETRY_SECONDS);
    announce_try(client, delay);
    client->deadline = now_ms() + (int64_t)(delay * 1000 + 1);
}

static int wake[2] = {-1, -1}; /* a pipe: signals, and a finished attempt, wake the loop */

/* Connects, and wakes the loop. This is a thread. */
static void *make_try(void *argument)
{
    struct client *client = argument;
    const char *reason;
    client->tried = connect_any(&client->options, &reason);
    ssize_t written = write(wake[1], "", 1);
    (void)written; /* the pipe has space */
    return NULL;
}

/* Starts to connect again; without a thread, it blocks. */
static void try_again(struct client *client)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, make_try, client) == 0)
        pthread_detach(thread);
    else
        make_try(client);
}

/* Continues with the new connection, if any; limits the time until the welcome (BACK-5). */
static void on_tried(struct client *client)
{
    client->link.fd = client->tried;
    if (client->tried < 0) {
        client->link.ended = true;
        return;
    }
    forget_row(client);
    client->phase = RETURNING;
    client->deadline = now_ms() + TRY_MS;
}

/* Ends a failed attempt to reconnect (BACK-5). */
static void refuse(struct client *client)
{
    struct link *link = &client->link;
    link->refused = true;
    link->ended = link->ended || shutdown(link->fd, SHUT_WR) < 0;
    client->deadline = now_ms() + CLOSE_MS;
}

/* The next attempt is due, or has taken too long. */
static void on_deadline(struct client *client)
{
    client->deadline = NEVER;
    if (client->phase == AWAY)
        try_again(client);
    else if (client->link.refused)
        client->link.ended = true;
    else
        refuse(client);
}

/* Returns the password for our name; empty where there is none (BACK-3). */
static const char *find_password(const struct client *client)
{
    return strcasecmp(client->proven_name, client->name) == 0 ? client->proven : "";
}

/* Answers each prompt once for the user; at any further prompt, the attempt fails. */
static void answer_prompt(struct client *client)
{
    const struct link *link = &client->link;
    const char *answer = "";
    if (link->prompts == 1 && link->asked == PROMPT)
        answer = client->name;
    else if (link->prompts == 2 && link->asked == PASSWORD_PROMPT)
        answer = find_password(client);
    if (!*answer) {
        refuse(client);
        return;
    }
    put(&client->outbox, answer, strlen(answer));
    put(&client->outbox, "\n", 1);
}

/* Handles a line when reconnecting: the welcome, a refusal, or a line to show. */
static void come_back(struct client *client, const char *line, const char *welcomed)
{
    if (welcomed && strcmp(welcomed, client->name) == 0) {
        announce("Reconnected as %s\n", welcomed);
        enter(client, welcomed);
        return;
    }
    if (*line && !welcomed) {
        show(client, line, client->link.cut ? 0 : strlen(line), false);
        show(client, "\n", 1, false);
    }
    if (welcomed || begins(line, "! "))
        refuse(client);
}

/* Restores the terminal; prints the lines that were not sent (BACK-9), and the message. The last
 * one may be a piece of a line that is longer than MAX_WAITING. */
static void give_up(const struct client *client)
{
    const struct queue *kept = &client->kept;
    end_editing();
    for (size_t at = 0, length; at < kept->length; at += length) {
        const char *line = kept->bytes + at;
        length = piece_length(line, kept->length - at);
        say("not sent: ", strlen("not sent: "));
        say(line, length);
        if (line[length - 1] != '\n')
            say("\n", 1);
    }
    say(client->words, strlen(client->words));
}

/* ---- 8. Loop -------------------------------------------------------------------------------- */

/* Ends the program, with a final message. */
static void end(struct client *client, const char *words, int status)
{
    snprintf(client->words, sizeof client->words, "%s", words);
    client->status = status;
}

/* Returns how long to wait, in ms. No signal reports that we are in the foreground again. */
static int patience(const struct client *client)
{
    int64_t left = client->deadline - now_ms();
    return left < 0 ? 0 : (int)MIN(left, terminal.ours ? INT_MAX : LOOK_MS);
}

/* Handles what has woken the loop. */
static void on_wake(struct client *client)
{
    char number;
    if (read(wake[0], &number, 1) < 1)
        return;
    if (number == 0) {
        on_tried(client);
    } else if (number == SIGWINCH) {
        on_resized();
    } else if (number == SIGCONT) {
        go_on();
    } else if (number == SIGTSTP) {
        stop();
        if (terminal.hidden)
            show(client, PASSWORD_PROMPT, strlen(PASSWORD_PROMPT), false);
    } else {
        end(client, "", EXIT_SUCCESS);
    }
}

enum source { WAKE, SERVER, ROOM, KEYBOARD, SCREEN, SOURCES };

/* Waits for events, and handles them. poll ignores a descriptor of -1. */
static void work(struct client *client)
{
    int fd = client->link.fd;
    struct pollfd ready[SOURCES] = {
        [WAKE] = {wake[0], POLLIN, 0},
        [SERVER] = {may_hear(client) ? fd : -1, POLLIN, 0},
        [ROOM] = {has_unsent(client) ? fd : -1, POLLOUT, 0}, /* `run` sends in each round */
        [KEYBOARD] = {may_read(client) ? STDIN_FILENO : -1, POLLIN, 0},
        [SCREEN] = {has_to_write(client) ? STDOUT_FILENO : -1, POLLOUT, 0},
    };
    while (poll(ready, SOURCES, patience(client)) < 0)
        continue;
    if (ready[WAKE].revents) {
        on_wake(client);
        return; /* the other events may not be wanted any more */
    }
    if (ready[SCREEN].revents)
        write_screen(client);
    if (ready[KEYBOARD].revents)
        on_input(client);
    if (ready[SERVER].revents)
        receive(client);
    if (client->deadline <= now_ms())
        on_deadline(client);
}

/* Runs the client; returns the exit status. */
static int run(struct client *client)
{
    while (client->status < 0) {
        take();
        send_typed(client);
        if (client->link.ended && has_shown_all(client))
            ending(client);
        else
            work(client);
    }
    give_up(client);
    close_in_order(client->link.fd);
    return client->status;
}

/* ---- 9. Start and stop ---------------------------------------------------------------------- */

/* A signal ends the program at once: there is no connection yet, or it is the second signal. */
static volatile sig_atomic_t at_once = true;

/* If one of the descriptors 0 to 2 was closed, a connection could get its number. */
static void open_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", O_RDWR);
}

/* Ends the program at once. */
static void quit(int number)
{
    (void)number;
    give_back();
    _exit(EXIT_SUCCESS);
}

/* Wakes the loop. A signal that ends the program sets an alarm, in case the loop is blocked. */
static void on_signal(int number)
{
    int saved = errno;
    char byte = (char)number;
    if (number != SIGTSTP && number != SIGCONT && number != SIGWINCH) {
        if (at_once)
            quit(number);
        at_once = true;
        alarm(END_SECONDS);
    }
    ssize_t written = write(wake[1], &byte, 1);
    (void)written; /* the pipe has space */
    errno = saved;
}

/* Ignored signals stay ignored, except SIGTERM (PROG-10). */
static void catch_signal(int number)
{
    struct sigaction before, action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(number, NULL, &before);
    if (before.sa_handler != SIG_IGN || number == SIGTERM)
        sigaction(number, &action, NULL);
}

/* Lets the first signal end the program in order, and a second one at once. */
static void catch_signals(void)
{
    static const int endings[] = {SIGTERM, SIGINT,  SIGHUP,    SIGQUIT, SIGUSR1,
                                  SIGUSR2, SIGXCPU, SIGVTALRM, SIGPROF};
    sigset_t none;
    if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) < 0) {
        announce("cannot start: %s\n", strerror(errno));
        exit(EXIT_FAILURE);
    }
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        catch_signal(endings[i]);
    signal(SIGALRM, quit);
    signal(SIGPIPE, SIG_IGN); /* writing to a closed pipe fails instead */
    signal(SIGXFSZ, SIG_IGN); /* writing beyond the limit of a file's size fails instead */
    signal(SIGTTIN, SIG_IGN); /* do not stop in the background (EDIT-5) */
    signal(SIGTTOU, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

int main(int argc, char **argv)
{
    static struct client client = {.deadline = NEVER, .status = -1};
    struct options *options = &client.options;
    const char *reason;
    (void)argc;
    setlocale(LC_CTYPE, "C.UTF-8"); /* built into glibc */
    open_standard_files();
    catch_signals();
    parse_options(options, argv + 1);
    client.answer = options->name;
    client.link.fd = connect_any(options, &reason);
    if (client.link.fd < 0) {
        bool ipv6 = strchr(options->host, ':');
        announce("cannot connect to %s%s%s:%s: %s\n", ipv6 ? "[" : "", options->host,
                 ipv6 ? "]" : "", options->port, reason);
        return EXIT_FAILURE;
    }
    at_once = false;
    start_editing(on_edited, &client);
    catch_signal(SIGTSTP);
    catch_signal(SIGCONT);
    catch_signal(SIGWINCH);
    return run(&client);
}
