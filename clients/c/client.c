/*
 * chat_client: the chat client in C, for Linux. PROTOCOL.md is the contract that it keeps; ids
 * such as CLIENT-4 name its rules.
 *
 *     gcc -o chat_client client.c && ./chat_client        (--help lists the options)
 *     gcc -DLINE_EDITING -o chat_client client.c -lreadline        (with GNU readline's editing)
 *
 * One poll loop, with two ways through it:
 *
 *     keyboard -> typed -> outbox -> server
 *     server -> screen
 *
 * and of a connection, where one that is lost is tried again:
 *
 *     FIRST -> ASKED -> JOINED -> AWAY -> RETURNING -> JOINED
 *
 * A second thread lives only while a connection is made: to look a name up may take long.
 *
 * What always holds:
 *  1. The loop waits in `wait_for_work` alone, so that neither direction, nor Ctrl+C, waits for a
 *     server that does not read. (A terminal that Ctrl+S holds up may hold up the drawing of a
 *     line; an alarm ends the program in spite of it.)
 *  2. What waits is bounded: where it is too much, its source is not read.
 *  3. Nothing from the server reaches the screen unless it was made harmless (`show`).
 *  4. Typed lines are passed on whole (unless one is longer than MAX_WAITING), and what was typed
 *     while there was no connection (`kept`) once the server has welcomed us: never at a prompt.
 *  5. The terminal gets its mode back, however the program ends or is stopped (terminal.h).
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
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "options.h"
#include "terminal.h"

/* ---- 1. Limits ------------------------------------------------------------------------------ */

#define MAX_WAITING     (64 * 1024) /* bytes that may wait one way; then its source does */
#define READ_SIZE       (16 * 1024) /* bytes read in one go */
#define LINE_SIZE       1280        /* bytes kept of a server's line: names and a text fit */
#define LONGEST_LINE    1024        /* bytes that a server takes as one line */
#define NAME_SIZE       33          /* a name, and its end */
#define SECRET_SIZE     96          /* a command with a password, and its end */
#define MAX_ANSWERS     8           /* to prompts on one connection: no server asks more often */
#define MAX_OFFERS      64    /* commands that wait for their reply, as far as we follow them */
#define MAX_PROMPT      2048  /* bytes of an unfinished line that may stand before a typed one */
#define MAX_ADDRESSES   32    /* of one host */
#define NEXT_MS         2000  /* after which the next address is tried beside the last */
#define TRY_MS          30000 /* for addresses to answer; for the welcome, on the way back */
#define CLOSE_MS        1000  /* for the server to end its side, once we have ended ours */
#define END_SECONDS     2     /* after a signal to end, at the most */
#define MAX_RETRY_DELAY 30    /* seconds */

#define PROMPT          "Enter your screen name: "
#define PASSWORD_PROMPT "Password: "
#define REPLACEMENT     "\xEF\xBF\xBD" /* U+FFFD */

/* ---- 2. Types ------------------------------------------------------------------------------- */

/* Where the client is with the server. */
enum phase {
    FIRST,     /* connecting for the first time */
    ASKED,     /* connected, and never welcomed yet: the user answers the prompts */
    JOINED,    /* welcomed */
    AWAY,      /* the connection is lost, and the next try waits, or is being made */
    RETURNING, /* connected again: what we remember answers the prompts */
};

/* What waits in one direction. It is not read for more once it holds MAX_WAITING. */
struct queue {
    size_t length;
    char bytes[MAX_WAITING + 8 * READ_SIZE]; /* and room for what one round may bring */
};

/* A connection that another thread makes. It writes a byte to `wake` when it is done. */
struct attempt {
    const struct options *options;
    int fd; /* -1: it failed, and here is why */
    const char *reason;
};

/* One connection, and what is known of it. */
struct link {
    int fd;        /* -1: it is closed */
    bool midline;  /* what was sent last was not the end of a line */
    bool sent_all; /* the input has ended, and so has, in order, our side */
    bool broken;   /* the server takes no more, or has reset the connection */
    bool refused;  /* a try that failed: our side is ended, and what comes is discarded */
    bool ended;    /* nothing more comes from the server */

    size_t length;        /* bytes of what follows */
    char line[LINE_SIZE]; /* what the server's last line has so far, without prompts */
    int status;           /* the exit status that its last whole line gives; -1: none */
    size_t prompts;       /* how often it has asked */
    bool asks_password;   /* its last prompt was that for a password */
    bool halfway;         /* the last byte that came ends no line */
    bool named;           /* the answer that --name gives was given */
    size_t answered;      /* lines that were sent before the welcome: */
    char answers[MAX_ANSWERS][SECRET_SIZE];

    size_t held_length; /* bytes of what follows */
    char held[4];       /* the beginning of a character, or a CR that may belong to a line end */
};

/* Everything. */
struct client {
    struct options options;
    struct attempt attempt;
    struct link link; /* the connection; AWAY: the last one */
    enum phase phase;
    const char *answer; /* to the prompt for the name, by --name, until it is refused */

    struct queue typed;  /* from the keyboard: a line that is not whole yet */
    struct queue outbox; /* for the server */
    struct queue kept;   /* typed while there was no connection */
    bool forgets;        /* the next line of the input is dropped */
    bool typed_all;      /* the input has ended */
    bool quits;          /* /quit was typed while away */
    struct queue screen; /* for standard output */
    size_t prompted;     /* bytes of it that the screen shows as the prompt of a half-typed line */

    char name[NAME_SIZE];          /* the one we have, or last had; empty before the welcome */
    char password[SECRET_SIZE];    /* the one that was accepted, and */
    char password_name[NAME_SIZE]; /* ... for which name */
    size_t offered;                /* commands that were sent and not answered: */
    char offers[MAX_OFFERS][SECRET_SIZE]; /* the password in each, if it has one */

    int tries;        /* since the last welcome */
    double delay;     /* before the next one, in seconds */
    int64_t deadline; /* AWAY: for the next try; RETURNING: for its end */
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

/* How much of some bytes is whole lines. */
static size_t whole_lines(const char *bytes, size_t length)
{
    const char *end = memrchr(bytes, '\n', length);
    return end ? (size_t)(end - bytes) + 1 : 0;
}

/* The length of the first of several lines, with its end; of an unfinished one, all there is. */
static size_t piece_length(const char *bytes, size_t length)
{
    const char *end = memchr(bytes, '\n', length);
    return end ? (size_t)(end - bytes) + 1 : length;
}

static bool begins(const char *text, const char *beginning)
{
    return strncmp(text, beginning, strlen(beginning)) == 0;
}

/* Goes past the beginning of a text; false where it begins otherwise. */
static bool skip(const char **text, const char *beginning)
{
    bool found = begins(*text, beginning);
    *text += found ? strlen(beginning) : 0;
    return found;
}

/* ---- 3. Screen ------------------------------------------------------------------------------ */

#define BROKEN UINT32_MAX

/*
 * Decodes the first UTF-8 character of some bytes. Gives its length, 0 where it takes more bytes
 * to judge; one byte that begins none is BROKEN.
 */
static size_t decode(const char *bytes, size_t left, uint32_t *code)
{
    static const uint32_t lowest[] = {UINT32_MAX, 0, 0x80, 0x800, 0x10000}; /* below: overlong */
    unsigned char first = (unsigned char)*bytes;
    size_t length = first < 0x80 ? 1 : first < 0xC2 || first > 0xF4 ? 0 : first < 0xE0 ? 2 : 3;
    length += first >= 0xF0 && first <= 0xF4;
    *code = length < 2 ? first : first & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        if (i == left)
            return 0;
        if (((unsigned char)bytes[i] & 0xC0) != 0x80)
            length = 0;
        *code = *code << 6 | (bytes[i] & 0x3F);
    }
    bool surrogate = *code >= 0xD800 && *code <= 0xDFFF;
    if (*code >= lowest[length] && !surrogate && *code <= 0x10FFFF)
        return length;
    *code = BROKEN;
    return 1;
}

/* C0 except TAB and line end, DEL and C1, and what breaks a line or turns its direction. */
static bool is_control(uint32_t code)
{
    return (code < 0x20 && code != '\t' && code != '\n') || (code >= 0x7F && code <= 0x9F) ||
           (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

/*
 * Puts what came, READ_SIZE bytes at most, on the screen, made harmless (CLIENT-6). What cannot
 * be judged yet is held back; `final` says that nothing more will come.
 */
static void show(struct client *client, const char *bytes, size_t length, bool final)
{
    struct link *link = &client->link;
    char all[sizeof link->held + READ_SIZE + 1];
    const char *next = all;
    char *end = mempcpy(mempcpy(all, link->held, link->held_length), bytes, length);
    *end = '\0'; /* so that a last CR has a neighbour */
    while (next < end) {
        uint32_t code;
        const char *plain = next; /* most bytes need no judging */
        while ((*next >= ' ' && *next <= '~') || *next == '\n')
            next++;
        put(&client->screen, plain, (size_t)(next - plain));
        size_t left = (size_t)(end - next);
        if (left == 0)
            break;
        size_t n = decode(next, left, &code);
        if ((n == 0 || (left == 1 && code == '\r')) && !final)
            break;
        if (n == 0 || code == BROKEN || (is_control(code) && !begins(next, "\r\n")))
            put(&client->screen, REPLACEMENT, sizeof REPLACEMENT - 1);
        else if (code != '\r')
            put(&client->screen, next, n);
        next += n > 0 ? n : 1;
    }
    link->held_length = (size_t)(end - next);
    memcpy(link->held, next, link->held_length);
}

/*
 * Writes on standard error, above the half-typed line. Once it was not read for a moment, what it
 * does not take at once is lost: it never holds up an ending.
 */
static void announce_bytes(const char *bytes, size_t length)
{
    static bool stuck;
    take_off();
    while (length > 0 && is_ready(STDERR_FILENO, POLLOUT, stuck ? 0 : CLOSE_MS / 2)) {
        ssize_t n = write(STDERR_FILENO, bytes, length < PIPE_BUF ? length : PIPE_BUF);
        if (n <= 0)
            return;
        bytes += n;
        length -= (size_t)n;
    }
    stuck = length > 0;
}

static void __attribute__((format(printf, 1, 2))) announce(const char *format, ...)
{
    char text[NI_MAXHOST + 256]; /* only a host that is given can be long */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    announce_bytes(text, strlen(text));
}

/* How much there is that was not shown yet. */
static size_t unshown(const struct client *client)
{
    return client->screen.length - client->prompted;
}

/* Whether the screen is not yet as it should be. */
static bool must_show(const struct client *client)
{
    return unshown(client) > 0 || (mode_now() == EDITED && !terminal.drawn);
}

/* Draws the half-typed line, behind the server's unfinished one or our own prompt (EDIT-2). */
static void draw_line(struct client *client)
{
    char own[NAME_SIZE + sizeof " (away)> "] = "";
    if (*client->name)
        snprintf(own, sizeof own, "%s%s> ", client->name, client->phase == JOINED ? "" : " (away)");
    take_off();
    client->prompted = client->screen.length;
    if (client->prompted > 0)
        set_prompt(client->screen.bytes, client->prompted, false);
    else
        set_prompt(own, strlen(own), true);
}

/*
 * Writes some of what waits for standard output: no more than PIPE_BUF, which may be written
 * without waiting where `poll` agrees. False where standard output is gone.
 */
static bool update_screen(struct client *client)
{
    struct queue *screen = &client->screen;
    bool edited = mode_now() == EDITED;
    size_t length = edited ? whole_lines(screen->bytes, screen->length) : screen->length;
    client->prompted = 0;
    if (length == 0 && screen->length > MAX_PROMPT)
        length = screen->length;
    if (length == 0) {
        draw_line(client);
        return true;
    }
    ssize_t n = print_above(screen->bytes, length < PIPE_BUF ? length : PIPE_BUF);
    take(screen, n);
    return n >= 0 || errno == EAGAIN || errno == EINTR;
}

/* ---- 4. Connection -------------------------------------------------------------------------- */

static int wake[2] = {-1, -1}; /* a pipe: signals, and connections that are made, wake the loop */

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

/* Begins to connect to one address; -1 where that fails at once. */
static int begin_connection(const struct addrinfo *address, int *error)
{
    int type = address->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK;
    int fd = socket(address->ai_family, type, address->ai_protocol);
    if (fd >= 0)
        prepare(fd);
    if (fd >= 0 &&
        (connect(fd, address->ai_addr, address->ai_addrlen) == 0 || errno == EINPROGRESS))
        return fd;
    *error = errno;
    if (fd >= 0)
        close(fd);
    return -1;
}

/* What came of it: 0 or an error. On a free port TCP may connect us to ourselves . */
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

/* Takes the first connection that is made; closes those that have failed. -1: none is made yet. */
static int take_made(struct pollfd *tries, int count, int *waiting, int *error)
{
    for (int i = 0; i < count; i++) {
        if (tries[i].fd < 0 || !tries[i].revents)
            continue;
        int fd = tries[i].fd;
        *error = connection_error(fd);
        tries[i].fd = -1; /* poll passes over it */
        --*waiting;
        if (!*error)
            return fd;
        close(fd);
    }
    return -1;
}

/*
 * Connects to the first of some addresses that answers. Where one fails, or does not answer for
 * two seconds, the next is tried beside it (CLIENT-7). -1: an error tells why there is none.
 */
static int connect_any(const struct addrinfo *next, int *error)
{
    struct pollfd tries[MAX_ADDRESSES];
    int count = 0, waiting = 0, fd = -1;
    int64_t left, end = now_ms() + TRY_MS;
    while (fd < 0 && (next || waiting > 0) && (left = end - now_ms()) > 0) {
        if (next) {
            tries[count] = (struct pollfd){begin_connection(next, error), POLLOUT, 0};
            waiting += tries[count++].fd >= 0;
            next = count < MAX_ADDRESSES ? next->ai_next : NULL;
        }
        if (waiting > 0 && poll(tries, (nfds_t)count, next ? NEXT_MS : (int)left) > 0)
            fd = take_made(tries, count, &waiting, error);
    }
    for (int i = 0; i < count; i++)
        if (tries[i].fd >= 0)
            close(tries[i].fd);
    return fd;
}

/* Looks the host up, connects and wakes the loop: the work of a thread of its own. */
static void *make_connection(void *argument)
{
    struct attempt *attempt = argument;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses;
    int error = ETIMEDOUT;
    int failure = getaddrinfo(attempt->options->host, attempt->options->port, &hints, &addresses);
    attempt->fd = failure ? -1 : connect_any(addresses, &error);
    attempt->reason = failure ? gai_strerror(failure) : strerrordesc_np(error);
    if (!failure)
        freeaddrinfo(addresses);
    ssize_t written = write(wake[1], "", 1);
    (void)written; /* the pipe has room */
    return NULL;
}

/* Begins to make a connection, for the first time or once more. */
static void connect_to(struct client *client)
{
    pthread_t thread;
    client->attempt.options = &client->options;
    if (pthread_create(&thread, NULL, make_connection, &client->attempt) == 0)
        pthread_detach(thread);
    else
        make_connection(&client->attempt);
}

/* Whether the connection was lost, and we are not back yet: what is typed is kept. */
static bool is_away(const struct client *client)
{
    return client->phase == AWAY || client->phase == RETURNING;
}

/* Whether something waits that can be sent. */
static bool has_unsent(const struct client *client)
{
    const struct link *link = &client->link;
    bool may_send = link->fd >= 0 && !link->broken && !link->ended && !link->refused;
    return may_send && client->outbox.length > 0;
}

/* Sends what was typed, as far as the kernel takes it; after the end of input, ends our side. */
static void send_typed(struct client *client)
{
    struct link *link = &client->link;
    struct queue *outbox = &client->outbox;
    if (has_unsent(client)) {
        ssize_t n = send(link->fd, outbox->bytes, outbox->length, MSG_NOSIGNAL);
        if (n < 0) /* what the server said before it went can still be read */
            link->broken = errno != EAGAIN && errno != EINTR;
        if (n > 0)
            link->midline = outbox->bytes[n - 1] != '\n';
        take(outbox, n);
    }
    bool said_all = client->typed_all && outbox->length + client->kept.length == 0;
    bool may_end = client->phase == ASKED || client->phase == JOINED;
    if (said_all && may_end && !link->broken && !link->ended && !link->sent_all) {
        link->broken = shutdown(link->fd, SHUT_WR) < 0;
        link->sent_all = !link->broken;
    }
}

/*
 * Ends our side, and discards what comes until the server ends its own: to close a connection
 * with something unread in it would reset it (CLIENT-2).
 */
static void close_in_order(int fd)
{
    char bytes[READ_SIZE];
    int64_t end = now_ms() + CLOSE_MS;
    int64_t left;
    if (fd < 0 || shutdown(fd, SHUT_WR) < 0)
        return;
    while ((left = end - now_ms()) > 0 && is_ready(fd, POLLIN, (int)left)) {
        ssize_t n = recv(fd, bytes, sizeof bytes, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return;
    }
}

/* ---- 5. From the server --------------------------------------------------------------------- */

/* What follows from what the server says: sections 6 and 7. */
static void answer_prompt(struct client *client);
static void come_back(struct client *client, const char *line, const char *welcomed);
static void pass_on(struct client *client, const char *bytes, size_t length);
static void remember(struct client *client, const char *line, size_t length);
static int lose(struct client *client);
static void give_up(struct client *client);

/* Takes a name (JOIN-2) off the front of a text. */
static bool take_name(const char **text, char name[NAME_SIZE])
{
    size_t length =
        strspn(*text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");
    if (length == 0 || length >= NAME_SIZE)
        return false;
    *(char *)mempcpy(name, *text, length) = '\0';
    *text += length;
    return true;
}

/* Whether a line is the welcome, and of whom. */
static bool is_welcome(const char *line, char name[NAME_SIZE])
{
    return skip(&line, "Welcome, ") && take_name(&line, name) && begins(line, " (");
}

/* Whether a line tells of a new name. */
static bool is_rename(const char *line, char old[NAME_SIZE], char new[NAME_SIZE])
{
    return take_name(&line, old) && skip(&line, " is now known as ") && take_name(&line, new) &&
           !*line;
}

/* Whether a line is some words and a name. */
static bool is_about(const char *line, const char *words, const char *name)
{
    return skip(&line, words) && strcmp(line, name) == 0;
}

/*
 * Takes the prompts off the front of the line; says whether there was one. The user's line end,
 * which ends a prompt on the screen, is not sent back by the server. No user can say what looks
 * like a prompt: none is called Password (JOIN-3).
 */
static bool take_prompts(struct link *link)
{
    const char *rest = link->line;
    size_t before = link->prompts;
    while (*rest) {
        bool password = skip(&rest, PASSWORD_PROMPT);
        if (!password && !skip(&rest, PROMPT))
            break;
        link->prompts++;
        link->asks_password = password;
    }
    link->length -= (size_t)(rest - link->line);
    memmove(link->line, rest, link->length + 1);
    return link->prompts > before;
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

/* Drops what is half typed of a password, before `show_typing` (HIDE-2). */
static void drop_secret(struct client *client)
{
    if (!terminal.hidden || !terminal.changed)
        return;
    if (is_ours())
        tcflush(STDIN_FILENO, TCIFLUSH);
    client->typed.length = 0;
}

/* Sees to it that the prompt that is pending is answered, and a password hidden. */
static void on_prompt(struct client *client)
{
    const struct link *link = &client->link;
    if (client->phase == RETURNING && *client->name) {
        answer_prompt(client);
        return;
    }
    if (client->phase == RETURNING) { /* the name is asked anew (BACK-10) */
        const char *prompt = link->asks_password ? PASSWORD_PROMPT : PROMPT;
        client->phase = ASKED;
        show(client, prompt, strlen(prompt), false);
    }
    client->forgets = false;
    if (link->asks_password) {
        hide_typing();
    } else {
        drop_secret(client);
        show_typing();
        if (client->answer)
            give_name(client);
    }
}

/* Keeps the password that was accepted, with its name (BACK-3). */
static void keep_password(struct client *client, const char *password)
{
    memmove(client->password, password, strlen(password) + 1);
    strcpy(client->password_name, client->name);
}

/* Is welcomed: remembers what let us in, and sends what was kept. */
static void enter(struct client *client, const char *name)
{
    struct link *link = &client->link;
    bool answered = link->asks_password && link->prompts <= link->answered;
    strcpy(client->name, name);
    if (client->phase == ASKED && answered)
        keep_password(client, link->answers[link->prompts - 1]);
    client->phase = JOINED;
    for (size_t i = link->prompts; i < link->answered; i++) /* typed ahead: no answers */
        remember(client, link->answers[i], strlen(link->answers[i]));
    explicit_bzero(link->answers, sizeof link->answers);
    client->answer = NULL;
    client->tries = 0;
    show_typing();
    pass_on(client, client->kept.bytes, client->kept.length);
    client->kept.length = 0;
}

/* What the server's replies to a command tell us. */
enum command { OTHER, NAMING, SECRET };

/* Which command a text is: one that takes a password, or one that may change what we are called. */
static enum command find_command(const char *text, size_t length)
{
    static const char *const words[] = {"/register", "/passwd", "/unregister", "/nick"};
    const char *space = memchr(text, ' ', length);
    size_t word = space ? (size_t)(space - text) : length;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (strlen(words[i]) == word && strncasecmp(words[i], text, word) == 0)
            return i < 2 ? SECRET : NAMING;
    return OTHER;
}

/* Whether a line refuses one of those commands. */
static bool is_refusal(const char *line)
{
    static const char *const refusals[] = {"! invalid name: ",    "! name in use: ",
                                           "! name registered: ", "! password must ",
                                           "! not registered: ",  "! name not registered: ",
                                           "! accounts ",         "! already registered: "};
    for (size_t i = 0; *line == '!' && i < sizeof refusals / sizeof *refusals; i++)
        if (begins(line, refusals[i]))
            return true;
    return skip(&line, "! unknown command: ") && find_command(line, strlen(line)) != OTHER;
}

/* Learns of a new name, or a new password, of ours. Commands are answered in order. */
static void follow_name(struct client *client, const char *line)
{
    char old[NAME_SIZE], new[NAME_SIZE];
    bool renamed = is_rename(line, old, new) && strcmp(old, client->name) == 0;
    bool changed =
        strcmp(line, "Password changed") == 0 || is_about(line, "Registered ", client->name);
    bool removed = is_about(line, "Unregistered ", client->name);
    if (renamed)
        strcpy(client->name, new);
    if (changed || removed)
        keep_password(client, changed && client->offered > 0 ? client->offers[0] : "");
    if ((renamed || changed || removed || is_refusal(line)) && client->offered > 0)
        memmove(client->offers, client->offers + 1, --client->offered * SECRET_SIZE);
}

/* Notes who is in the room, for TAB. */
static void note_names(const char *line)
{
    char name[NAME_SIZE], new[NAME_SIZE];
    if (skip(&line, "Online (")) {
        line += strcspn(line, ":");
        line += *line ? 1 : 0;
        while (skip(&line, " ") && take_name(&line, name)) {
            know_name(name);
            skip(&line, ",");
        }
    } else if (is_rename(line, name, new)) {
        forget_name(name);
        know_name(new);
    } else if (!begins(line, "Commands: ") && !begins(line, "server: ")) {
        skip(&line, "(private) ");
        bool named = take_name(&line, name);
        if (named && strcmp(line, " has left the chat") == 0)
            forget_name(name);
        else if (named && (strcmp(line, " has joined the chat") == 0 || begins(line, ": ")))
            know_name(name);
    }
}

/* The exit status that a line gives, if the connection ends behind it; -1: none (CLIENT-5). */
static int status_of(const char *line)
{
    static const char *const bad_endings[] = {"! too many attempts", "! timed out", "! server full",
                                              "! kicked by the operator"};
    if (strcmp(line, "Server is shutting down") == 0 || begins(line, "Goodbye, "))
        return EXIT_SUCCESS;
    for (size_t i = 0; i < sizeof bad_endings / sizeof *bad_endings; i++)
        if (strcmp(line, bad_endings[i]) == 0)
            return EXIT_FAILURE;
    return -1;
}

/* Follows what happens to us by the server's whole lines. */
static void on_line(struct client *client, char *line, size_t length)
{
    char name[NAME_SIZE];
    if (length > 0 && line[length - 1] == '\r')
        line[length - 1] = '\0';
    bool welcomed = is_welcome(line, name);
    bool peaceful = strcmp(line, "Server is shutting down") == 0;
    client->link.status = is_away(client) && !peaceful ? -1 : status_of(line);
    if (client->phase == RETURNING)
        come_back(client, line, welcomed ? name : NULL);
    else if (client->phase == ASKED && welcomed)
        enter(client, name);
    else if (client->phase == JOINED)
        follow_name(client, line);
    if (client->phase == JOINED && terminal.can_edit)
        note_names(line);
}

/* Shows a line, or a piece of one, and takes its meaning; on the way back, that comes first. */
static void on_server(struct client *client, const char *piece, size_t length)
{
    struct link *link = &client->link;
    bool whole = piece[length - 1] == '\n';
    link->halfway = !whole;
    if (client->phase != RETURNING)
        show(client, piece, length, false);
    size_t room = LINE_SIZE - 1 - link->length;
    size_t added = whole ? length - 1 : length;
    added = added < room ? added : room;
    *(char *)mempcpy(link->line + link->length, piece, added) = '\0';
    link->length += added;
    bool prompted = client->phase != JOINED && take_prompts(link);
    if (whole) {
        size_t line_length = link->length;
        link->length = 0;
        on_line(client, link->line, line_length);
    } else if (prompted && link->length == 0) {
        on_prompt(client);
    }
}

/* Nothing more comes from the server: what it left unfinished is a line, not a prompt. */
static void on_end(struct client *client)
{
    struct link *link = &client->link;
    bool at_password = terminal.hidden && link->prompts > link->answered;
    link->ended = true;
    show(client, "", 0, true);
    drop_secret(client);
    show_typing();
    if (terminal.can_edit && link->halfway && client->phase != RETURNING &&
        (link->length > 0 || at_password))
        put(&client->screen, "\n", 1);
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
    for (const char *next = bytes; left > 0 && !link->refused;) {
        size_t length = piece_length(next, left);
        on_server(client, next, length);
        next += length;
        left -= length;
    }
    if (n <= 0) {
        link->broken = link->broken || n < 0;
        on_end(client);
    }
}

/* Whether a prompt for the name would find no answer, as the input has ended. */
static bool is_pointless(const struct client *client)
{
    return client->typed_all && !*client->name && !client->answer;
}

/*
 * Sees how it ended, as the server's last line says (CLIENT-5); gives the exit status, or -1
 * where the connection is tried again.
 */
static int ending(struct client *client)
{
    const struct link *link = &client->link;
    bool in_order = link->sent_all && !link->broken;
    bool retries = client->options.retries > 0 && !link->sent_all && !is_pointless(client);
    if (link->status < 0 && !in_order && retries)
        return lose(client);
    give_up(client);
    if (link->status >= 0)
        announce("Disconnected\n");
    else if (!in_order)
        announce("Connection lost\n");
    return link->status >= 0 ? link->status : in_order ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* ---- 6. From the keyboard ------------------------------------------------------------------- */

/* Keeps of a text what may be a password: none of those is longer than fits. */
static void copy_secret(char secret[SECRET_SIZE], const char *text, size_t length)
{
    length = length < SECRET_SIZE ? length : 0;
    *(char *)mempcpy(secret, text, length) = '\0';
}

/* Whether the server drops a line (FRAME-4 to FRAME-6), so that it is no command. */
static bool is_dropped(const char *line, size_t length)
{
    bool good = length <= LONGEST_LINE;
    uint32_t code;
    for (size_t n; good && length > 0; line += n, length -= n) {
        n = decode(line, length, &code);
        good = n > 0 && code != BROKEN && !is_control(code);
    }
    return !good;
}

/* Keeps a line for the server for as long as it may be the password that is accepted. */
static void remember(struct client *client, const char *line, size_t length)
{
    struct link *link = &client->link;
    if (length > 0 && line[length - 1] == '\r')
        length--;
    if (client->phase == ASKED && link->answered < MAX_ANSWERS)
        copy_secret(link->answers[link->answered++], line, length);
    enum command command = find_command(line, length);
    if (client->phase != JOINED || command == OTHER || is_dropped(line, length) ||
        client->offered == MAX_OFFERS)
        return;
    const char *space = memchr(line, ' ', length);
    size_t start = space ? (size_t)(space - line) : length;
    while (start < length && line[start] == ' ')
        start++;
    copy_secret(client->offers[client->offered++], line + start,
                command == SECRET ? length - start : 0);
}

/* Takes a /quit out of what was kept: there is nothing to quit but the client (BACK-8). */
static void find_quit(struct client *client)
{
    struct queue *kept = &client->kept;
    size_t start = whole_lines(kept->bytes, kept->length - 1);
    const char *line = kept->bytes + start;
    size_t word = strcspn(line, " \r\n");
    client->quits = word == strlen("/quit") && strncasecmp(line, "/quit", word) == 0;
    if (client->quits)
        kept->length = start;
}

/* Gives the server some lines, or a piece of one. */
static void pass_on(struct client *client, const char *bytes, size_t length)
{
    put(&client->outbox, bytes, length);
    for (size_t n; length > 0; bytes += n, length -= n) {
        n = piece_length(bytes, length);
        if (bytes[n - 1] == '\n')
            remember(client, bytes, n - 1);
    }
}

/* Puts a line where it belongs; of one that is longer than MAX_WAITING, a piece. */
static void on_typed(struct client *client, const char *line, size_t length)
{
    if (client->forgets) {
        client->forgets = line[length - 1] != '\n';
    } else if (is_away(client)) {
        put(&client->kept, line, length);
        if (!client->quits && line[length - 1] == '\n')
            find_quit(client);
    } else {
        pass_on(client, line, length);
    }
}

/* Takes it that nothing more is typed; away, there may be nothing left to come back for. */
static void end_input(struct client *client)
{
    client->typed_all = true;
    if (is_away(client) && is_pointless(client))
        client->link.ended = true;
    end_editing();
}

/* Passes on what was typed, line by line; an unfinished last one gets its end (CLIENT-1). */
static void on_keyboard(struct client *client)
{
    struct queue *typed = &client->typed;
    ssize_t n = read(STDIN_FILENO, typed->bytes + typed->length, READ_SIZE);
    if (n < 0 && (errno == EAGAIN || errno == EINTR || !is_ours()))
        return;
    typed->length += n > 0 ? (size_t)n : 0;
    if (n <= 0 && typed->length > 0)
        put(typed, "\n", 1);
    size_t ready = whole_lines(typed->bytes, typed->length);
    if (ready == 0 && typed->length >= MAX_WAITING)
        ready = typed->length;
    for (size_t at = 0, length; at < ready; at += length) {
        length = piece_length(typed->bytes + at, ready - at);
        on_typed(client, typed->bytes + at, length);
    }
    take(typed, (ssize_t)ready);
    if (n <= 0)
        end_input(client);
}

/* Takes an edited line, whose prompt has become a part of the screen; NULL: the end of input. */
static void on_edited(void *context, const char *line)
{
    struct client *client = context;
    char typed[MOST_TYPED + 2];
    take(&client->screen, (ssize_t)client->prompted);
    client->prompted = 0;
    if (!line) {
        end_input(client);
        return;
    }
    bool secret = find_command(line, strlen(line)) == SECRET || client->forgets;
    if (*client->name && !secret)
        add_to_history(line);
    int length = snprintf(typed, sizeof typed - 1, "%s", line);
    length = length < MOST_TYPED ? length : MOST_TYPED;
    typed[length++] = '\n';
    on_typed(client, typed, (size_t)length);
}

/* ---- 7. Away and back ----------------------------------------------------------------------- */

/*
 * Keeps what was typed and not sent, unless it was for prompts: they are not asked again. The same
 * holds for the rest of an answer, or for a password, that has not been typed yet (BACK-10). Of a
 * line that was sent in part, the rest is dropped: alone, it would be another line.
 */
static void keep_unsent(struct client *client)
{
    const struct link *link = &client->link;
    struct queue *outbox = &client->outbox;
    if (client->phase == JOINED && link->midline) {
        size_t rest = piece_length(outbox->bytes, outbox->length);
        client->forgets = rest == 0 || outbox->bytes[rest - 1] != '\n';
        take(outbox, (ssize_t)rest);
    }
    if (client->phase == JOINED)
        put(&client->kept, outbox->bytes, outbox->length);
    if (client->phase == ASKED) {
        bool at_password = link->asks_password && link->prompts > link->answered;
        client->forgets = at_password || client->typed.length > 0;
        client->typed.length = 0;
    }
    outbox->length = 0;
}

/* Says how soon and how often it is tried again; the delay without needless zeros. */
static void announce_try(struct client *client)
{
    char delay[32];
    int length = snprintf(delay, sizeof delay, "%.9f", client->delay);
    while (delay[length - 1] == '0')
        delay[--length] = '\0';
    if (delay[length - 1] == '.')
        delay[--length] = '\0';
    announce("Connection lost, retrying in %s s (%d of %d)\n", delay, client->tries,
             client->options.retries);
}

/* Begins to wait for the next try, and gives -1, or the exit status after the last one. */
static int lose(struct client *client)
{
    if (client->link.fd >= 0)
        close(client->link.fd);
    client->link.fd = -1;
    client->link.ended = false;
    keep_unsent(client);
    if (client->phase == JOINED) {
        client->offered = 0;
        forget_names();
    }
    client->phase = AWAY;
    if (client->tries == client->options.retries) {
        give_up(client);
        announce("Giving up after %d attempts\n", client->tries);
        return EXIT_FAILURE;
    }
    client->delay = client->tries > 0 ? client->delay * 2 : client->options.retry_delay;
    if (client->delay > MAX_RETRY_DELAY)
        client->delay = MAX_RETRY_DELAY;
    client->tries++;
    announce_try(client);
    client->deadline = now_ms() + (int64_t)(client->delay * 1000 + 1);
    return -1;
}

/* Takes the connection that was made; gives the exit status where it is the first and fails. */
static int on_connected(struct client *client)
{
    const struct options *options = &client->options;
    bool ipv6 = strchr(options->host, ':');
    int fd = client->attempt.fd;
    if (client->phase == FIRST && fd < 0) {
        announce("cannot connect to %s%s%s:%s: %s\n", ipv6 ? "[" : "", options->host,
                 ipv6 ? "]" : "", options->port, client->attempt.reason);
        return EXIT_FAILURE;
    }
    client->link = (struct link){.fd = fd, .status = -1, .ended = fd < 0};
    if (fd < 0)
        return -1;
    if (client->phase == AWAY) { /* prompts of the last connection are gone */
        take_off();
        client->screen.length = whole_lines(client->screen.bytes, client->screen.length);
        client->prompted = 0;
    }
    client->phase = client->phase == FIRST ? ASKED : RETURNING;
    client->deadline = now_ms() + TRY_MS;
    return -1;
}

/* Ends a try that did not bring us back, in order (BACK-5). */
static void refuse(struct client *client)
{
    struct link *link = &client->link;
    link->refused = true;
    link->ended = shutdown(link->fd, SHUT_WR) < 0;
    client->deadline = now_ms() + CLOSE_MS;
}

/* The password to be given for our name, or NULL. */
static const char *find_password(const struct client *client)
{
    bool known = *client->password && strcasecmp(client->password_name, client->name) == 0;
    return known ? client->password : NULL;
}

/* Answers in the user's place, each prompt once; any other makes it a failed try. */
static void answer_prompt(struct client *client)
{
    const struct link *link = &client->link;
    const char *answer = NULL;
    if (link->prompts == 1 && !link->asks_password)
        answer = client->name;
    else if (link->prompts == 2 && link->asks_password)
        answer = find_password(client);
    if (!answer) {
        refuse(client);
        return;
    }
    put(&client->outbox, answer, strlen(answer));
    put(&client->outbox, "\n", 1);
}

/* Takes a line of the server's on the way back: the welcome, a refusal, or something to show. */
static void come_back(struct client *client, const char *line, const char *welcomed)
{
    if (welcomed && strcmp(welcomed, client->name) == 0) {
        announce("Reconnected as %s\n", welcomed);
        enter(client, welcomed);
        return;
    }
    if (*line && !welcomed) {
        show(client, line, strlen(line), false);
        show(client, "\n", 1, false);
    }
    if (welcomed || begins(line, "! "))
        refuse(client);
}

/* Connects once more. */
static void try_again(struct client *client)
{
    client->deadline = 0; /* the attempt has its own */
    connect_to(client);
}

/* The next try is due, or has taken too long. */
static void on_deadline(struct client *client)
{
    if (client->phase == AWAY)
        try_again(client);
    else if (client->link.refused)
        client->link.ended = true;
    else
        refuse(client);
}

/* Gives the terminal back, and shows the lines that were kept and will not be sent (BACK-9). */
static void give_up(struct client *client)
{
    const struct queue *kept = &client->kept;
    size_t whole = is_away(client) ? whole_lines(kept->bytes, kept->length) : 0;
    end_editing();
    for (size_t at = 0, length; at < whole; at += length) {
        length = piece_length(kept->bytes + at, whole - at);
        announce_bytes("not sent: ", strlen("not sent: "));
        announce_bytes(kept->bytes + at, length);
    }
}

/* ---- 8. Loop -------------------------------------------------------------------------------- */

/* In the background, a client that edits lines waits quietly, and only connects. */
static bool may_show(void)
{
    return !terminal.can_edit || terminal.taken;
}

/*
 * Whether the server is read: on the way back, only where what we say comes last, and where lines
 * are edited, only once all that came is on the screen, because a flood would keep the keys from
 * it.
 */
static bool may_hear(const struct client *client)
{
    const struct link *link = &client->link;
    size_t most = client->phase == RETURNING || mode_now() == EDITED ? 1 : MAX_WAITING;
    return link->fd >= 0 && !link->ended && may_show() && unshown(client) < most;
}

/*
 * Whether standard input is read: not before the name that --name gives was sent, not while the
 * terminal is another's, and where lines are edited, not before the half-typed one is drawn.
 */
static bool may_type(const struct client *client)
{
    const struct link *link = &client->link;
    size_t waiting = client->outbox.length + client->kept.length;
    if (client->typed_all || client->quits || link->ended || waiting >= MAX_WAITING)
        return false;
    if (!terminal.taken || client->phase == FIRST || (mode_now() == EDITED && must_show(client)))
        return false;
    return is_away(client) || (!link->broken && (!client->answer || link->named));
}

/* Milliseconds until something is due; -1: nothing is. */
static int64_t until_due(const struct client *client)
{
    int64_t left = client->deadline - now_ms();
    if (!is_away(client) || client->link.ended || client->deadline == 0)
        return -1;
    return left > 0 ? left : 0;
}

/* The sooner of two times, of which -1 is none. */
static int64_t sooner(int64_t a, int64_t b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

/* How long to wait, likewise; a terminal that is another's is looked at once a second. */
static int patience(const struct client *client)
{
    int64_t keys = may_type(client) ? key_timeout() : -1;
    return (int)sooner(sooner(until_due(client), keys), terminal.taken ? -1 : 1000);
}

enum source { WAKE, SERVER, KEYBOARD, SCREEN, SOURCES };

/* Waits until something can be done, and says what; poll passes over a descriptor of -1. */
static void wait_for_work(const struct client *client, struct pollfd work[SOURCES])
{
    bool hears = may_hear(client);
    bool sends = has_unsent(client);
    work[WAKE] = (struct pollfd){.fd = wake[0], .events = POLLIN};
    work[SERVER] = (struct pollfd){.fd = hears || sends ? client->link.fd : -1};
    work[SERVER].events = (short)((hears ? POLLIN : 0) | (sends ? POLLOUT : 0));
    work[KEYBOARD] = (struct pollfd){.fd = may_type(client) ? STDIN_FILENO : -1, .events = POLLIN};
    work[SCREEN] = (struct pollfd){.fd = may_show() && must_show(client) ? STDOUT_FILENO : -1,
                                   .events = POLLOUT};
    while (poll(work, SOURCES, patience(client)) < 0)
        continue;
}

/* Acts on what woke the loop; gives the signal that ends the program, or 0. */
static int on_wake(struct client *client, int *status)
{
    char number = 0;
    ssize_t n = read(wake[0], &number, 1);
    if (n == 1 && number == 0) {
        *status = on_connected(client);
    } else if (number == SIGWINCH) {
        on_resized();
    } else if (number == SIGTSTP) {
        drop_secret(client);
        stop_here();
        if (terminal.hidden)
            show(client, PASSWORD_PROMPT, strlen(PASSWORD_PROMPT), false);
    } else if (number == SIGCONT) { /* after a stop that came without warning */
        terminal.taken = false;
        terminal.drawn = false;
    } else {
        return number;
    }
    return 0;
}

/* Ends because a signal says so: in order, and quietly; some signals then have their own way. */
static int end_by(struct client *client, int number)
{
    give_up(client);
    close_in_order(client->link.fd);
    if (number != SIGINT && number != SIGTERM && number != SIGHUP) {
        signal(number, SIG_DFL);
        raise(number);
    }
    return EXIT_SUCCESS;
}

/* Does what can be done, once; gives the exit status, or -1 to go on. */
static int one_round(struct client *client, const struct pollfd work[SOURCES])
{
    int status = -1;
    int number = work[WAKE].revents ? on_wake(client, &status) : 0;
    if (number > 0)
        return end_by(client, number);
    if (work[SCREEN].revents && may_show() && must_show(client) && !update_screen(client))
        return EXIT_FAILURE;
    if (work[SERVER].revents & ~POLLOUT && may_hear(client))
        receive(client);
    bool typed = work[KEYBOARD].revents && may_type(client) && is_ready(STDIN_FILENO, POLLIN, 0);
    if (mode_now() == EDITED && (typed || key_timeout() == 0))
        read_line(typed);
    else if (typed) /* ... and not dropped meanwhile */
        on_keyboard(client);
    if (until_due(client) == 0)
        on_deadline(client);
    send_typed(client);
    if (client->quits) {
        give_up(client);
        announce("Disconnected\n");
        return EXIT_SUCCESS;
    }
    bool over = status < 0 && client->link.ended && unshown(client) == 0 && may_show();
    return over ? ending(client) : status;
}

/* Passes on what comes, both ways, until it ends for good; gives the exit status. */
static int run(struct client *client)
{
    struct pollfd work[SOURCES];
    int status = -1;
    while (status < 0) {
        if (client->phase != FIRST)
            take_terminal();
        wait_for_work(client, work);
        status = one_round(client, work);
    }
    return status;
}

/* ---- 9. Start and stop ---------------------------------------------------------------------- */

/* Opens what the caller left closed of descriptors 0 to 2, so that the connection is none. */
static void open_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", O_RDWR);
}

/* The program did not end in time, or is asked a second time. */
static void end_now(int number)
{
    (void)number;
    restore();
    _exit(EXIT_SUCCESS);
}

static void handle(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigaction(number, &action, NULL);
}

/* Wakes the loop. What ends the program ends it in time, whatever stands in the way. */
static void on_signal(int number)
{
    int saved = errno;
    char byte = (char)number;
    if (number != SIGTSTP && number != SIGCONT && number != SIGWINCH) {
        handle(number, end_now);
        alarm(END_SECONDS);
    }
    ssize_t written = write(wake[1], &byte, 1);
    (void)written; /* the pipe has room, and nothing could be done about it here */
    errno = saved;
}

/* What was blocked works; what was ignored stays so, SIGTERM excepted (PROG-10). */
static void catch_signals(void)
{
    static const int numbers[] = {SIGINT,  SIGHUP,    SIGQUIT, SIGUSR1, SIGUSR2,
                                  SIGXCPU, SIGVTALRM, SIGPROF, SIGTSTP};
    struct sigaction before;
    sigset_t none;
    if (pipe2(wake, O_CLOEXEC | O_NONBLOCK) < 0) {
        perror("chat-client: pipe");
        exit(EXIT_FAILURE);
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (sigaction(numbers[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            handle(numbers[i], on_signal);
    handle(SIGTERM, on_signal);
    handle(SIGCONT, on_signal);
    handle(SIGWINCH, on_signal);
    handle(SIGALRM, end_now);
    handle(SIGPIPE, SIG_IGN); /* standard output gone is noticed where it is written to */
    handle(SIGTTIN, SIG_IGN); /* in the background we wait, and do not stop */
    handle(SIGTTOU, SIG_IGN);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

int main(int argc, char **argv)
{
    static const char *const commands[] = {"/help",     "/who",    "/msg",        "/nick", "/quit",
                                           "/register", "/passwd", "/unregister", NULL};
    static struct client client = {.link = {.fd = -1, .status = -1}};
    (void)argc;
    open_standard_files();
    catch_signals();
    parse_options(&client.options, argv + 1);
    client.answer = client.options.name;
    start_editing(on_edited, &client, commands);
    connect_to(&client);
    int status = run(&client);
    end_editing();
    if (client.link.fd >= 0)
        close(client.link.fd);
    return status;
}
