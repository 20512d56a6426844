/*
 * chat_client: the chat client in C, for Linux. PROTOCOL.md is the contract that it keeps; ids
 * such as CLIENT-4 name its rules.
 *
 *     gcc -o chat_client client.c && ./chat_client        (--help tells the rest)
 *
 * One thread and one poll loop, with two ways through it:
 *
 *     keyboard -> outbox -> server
 *     server -> screen
 *
 * What always holds:
 *  1. Nothing but `wait_for_work` ever waits: a server that does not read, or a terminal that is
 *     held up, does not keep the other direction, or Ctrl+C, from working.
 *  2. What waits is bounded: where it is too much, its source is not read.
 *  3. Nothing from the server reaches the screen unless it was made harmless (`show`).
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
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---- 1. Limits ------------------------------------------------------------------------------ */

#define VERSION       "0.1.0"
#define HOST          "localhost"
#define PORT          "8080"
#define MAX_WAITING   (64 * 1024) /* bytes that may wait in one direction; then its source does */
#define READ_SIZE     (16 * 1024) /* bytes read in one go, and the longest --name */
#define LINE_KEPT     128         /* bytes kept of a server's line: more than mean anything to us */
#define CLOSE_SECONDS 1           /* for the server to end its side, once the user has ended ours */

#define PROMPT      "Enter your screen name: "
#define GOODBYE     "Goodbye, "    /* and a name */
#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */

/* ---- 2. Types ------------------------------------------------------------------------------- */

/* The command line. */
struct options {
    const char *host;
    const char *port; /* as typed, once it is known to be a number */
    const char *name; /* the answer to the prompt, or NULL: be asked for it */
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

/* Everything. */
struct client {
    struct options options;
    int fd;     /* the connection */
    int wake;   /* can be read once a signal has come */
    bool named; /* the answer to the prompt has been given, or there is none to give */

    struct queue outbox; /* from the keyboard, for the server */
    bool typing;         /* the last line of the input is not whole yet */
    bool typed_all;      /* the input has ended */
    bool sent_all;       /* ... and so has, in order, our side of the connection */
    bool broken;         /* the server takes no more, or has reset the connection */
    bool ended;          /* nothing more comes from the server */

    struct line line;    /* the line that the server is at */
    struct line last;    /* its last whole one */
    size_t held_length;  /* bytes of what follows */
    char held[4];        /* the beginning of a character, or a CR that may belong to a line end */
    struct queue screen; /* for standard output */
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
    char all[sizeof client->held + READ_SIZE];
    char *next = all;
    char *end = mempcpy(mempcpy(all, client->held, client->held_length), bytes, length);
    while (next < end && (final || !is_unfinished(next, (size_t)(end - next))))
        next += show_one(&client->screen, next, (size_t)(end - next));
    client->held_length = (size_t)(end - next);
    memcpy(client->held, next, client->held_length);
}

/*
 * Writes some of what waits for standard output: no more than PIPE_BUF, which is what may be
 * written without waiting where `poll` agrees. False where standard output is gone.
 */
static bool write_screen(struct client *client)
{
    size_t length = client->screen.length < PIPE_BUF ? client->screen.length : PIPE_BUF;
    ssize_t n = write(STDOUT_FILENO, client->screen.bytes, length);
    take(&client->screen, n);
    return n >= 0 || errno == EAGAIN || errno == EINTR;
}

/* ---- 4. Connection -------------------------------------------------------------------------- */

static _Noreturn void cannot_connect(const struct options *options, const char *reason)
{
    bool ipv6 = strchr(options->host, ':');
    fprintf(stderr, "cannot connect to %s%s%s:%s: %s\n", ipv6 ? "[" : "", options->host,
            ipv6 ? "]" : "", options->port, reason);
    exit(EXIT_FAILURE);
}

/* Connects to the first address of the host that answers; ends the program if none does. */
static int connect_to(const struct options *options)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *addresses;
    int fd = -1;
    int error = getaddrinfo(options->host, options->port, &hints, &addresses);
    if (error)
        cannot_connect(options, error == EAI_SYSTEM ? strerror(errno) : gai_strerror(error));
    for (const struct addrinfo *a = addresses; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol);
        if (fd < 0 || connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
            error = errno;
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(addresses);
    if (fd < 0)
        cannot_connect(options, strerror(error));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* Sends what was typed, as far as the kernel takes it; after the end of input, ends our side. */
static void send_typed(struct client *client)
{
    if (client->outbox.length > 0) {
        ssize_t n = send(client->fd, client->outbox.bytes, client->outbox.length, MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            client->broken = true; /* what the server said before it went can still be read */
            client->outbox.length = 0;
            return;
        }
        take(&client->outbox, n);
    }
    if (client->typed_all && client->outbox.length == 0 && !client->sent_all) {
        shutdown(client->fd, SHUT_WR);
        client->sent_all = true;
    }
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/*
 * Ends our side, and discards what comes until the server ends its own: to close a connection
 * with something unread in it would reset it.
 */
static void close_in_order(const struct client *client)
{
    struct pollfd wanted = {.fd = client->fd, .events = POLLIN};
    char bytes[READ_SIZE];
    int64_t left = CLOSE_SECONDS * 1000;
    int64_t end = now_ms() + left;
    shutdown(client->fd, SHUT_WR);
    for (; left > 0; left = end - now_ms()) {
        poll(&wanted, 1, (int)left);
        ssize_t n = recv(client->fd, bytes, sizeof bytes, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            return;
    }
}

/* ---- 5. From the server --------------------------------------------------------------------- */

static bool line_is(const struct line *line, const char *text)
{
    return line->length == strlen(text) && memcmp(line->bytes, text, line->length) == 0;
}

/* Keeps the beginning of the line that the server is at, and of the last one before it. */
static void follow(struct client *client, const char *bytes, size_t length)
{
    struct line *line = &client->line;
    for (size_t i = 0; i < length; i++) {
        if (bytes[i] == '\n') {
            client->last = *line;
            line->length = 0;
        } else if (line->length < LINE_KEPT) {
            line->bytes[line->length++] = bytes[i];
        }
    }
}

/* Shows what came; gives the name when it is first asked for (CLIENT-8). */
static void on_server(struct client *client, const char *bytes, size_t length)
{
    show(client, bytes, length, false);
    follow(client, bytes, length);
    if (client->named || !line_is(&client->line, PROMPT))
        return;
    put(&client->outbox, client->options.name, strlen(client->options.name));
    put(&client->outbox, "\n", 1);
    show(client, client->options.name, strlen(client->options.name), false);
    show(client, "\n", 1, false);
    client->named = true;
}

/* Receives once from the server. */
static void receive(struct client *client)
{
    char bytes[READ_SIZE];
    ssize_t n = recv(client->fd, bytes, sizeof bytes, 0);
    if (n > 0) {
        on_server(client, bytes, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        client->broken = client->broken || n < 0;
        client->ended = true;
        show(client, "", 0, true);
    }
}

/* The exit status that the server's last line gives, or -1 where it tells of no ending. */
static int told_status(const struct line *last)
{
    static const char *const bad_endings[] = {"! too many attempts", "! timed out", "! server full",
                                              "! kicked by the operator"};
    if (line_is(last, "Server is shutting down"))
        return EXIT_SUCCESS;
    if (last->length >= strlen(GOODBYE) && memcmp(last->bytes, GOODBYE, strlen(GOODBYE)) == 0)
        return EXIT_SUCCESS;
    for (size_t i = 0; i < sizeof bad_endings / sizeof *bad_endings; i++)
        if (line_is(last, bad_endings[i]))
            return EXIT_FAILURE;
    return -1;
}

/* Says how it ended, as the server's last line tells (CLIENT-5); gives the exit status. */
static int ending(const struct client *client)
{
    int status = told_status(&client->last);
    if (status >= 0) {
        fputs("Disconnected\n", stderr);
        return status;
    }
    if (client->sent_all && !client->broken)
        return EXIT_SUCCESS;
    fputs("Connection lost\n", stderr);
    return EXIT_FAILURE;
}

/* ---- 6. From the keyboard ------------------------------------------------------------------- */

/* Passes on what was typed, as it comes; an unfinished last line gets its end (CLIENT-1). */
static void on_keyboard(struct client *client)
{
    char bytes[READ_SIZE];
    ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
    if (n > 0) {
        put(&client->outbox, bytes, (size_t)n);
        client->typing = bytes[n - 1] != '\n';
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        client->typed_all = true;
        if (client->typing)
            put(&client->outbox, "\n", 1);
    }
}

/* ---- 7. Loop -------------------------------------------------------------------------------- */

/* Whether standard input is read: not before the name that --name gives was sent. */
static bool may_type(const struct client *client)
{
    return client->named && !client->typed_all && !client->broken && !client->ended &&
           client->outbox.length < MAX_WAITING;
}

enum source { WAKE, SERVER, KEYBOARD, SCREEN, SOURCES };

/* Waits until something can be done, and tells what; poll passes over a descriptor of -1. */
static void wait_for_work(const struct client *client, struct pollfd work[SOURCES])
{
    bool hears = !client->ended && client->screen.length < MAX_WAITING;
    bool sends = !client->ended && client->outbox.length > 0;
    work[WAKE] = (struct pollfd){.fd = client->wake, .events = POLLIN};
    work[SERVER] = (struct pollfd){.fd = hears || sends ? client->fd : -1};
    work[SERVER].events = (short)((hears ? POLLIN : 0) | (sends ? POLLOUT : 0));
    work[KEYBOARD] = (struct pollfd){.fd = may_type(client) ? STDIN_FILENO : -1, .events = POLLIN};
    work[SCREEN] =
        (struct pollfd){.fd = client->screen.length > 0 ? STDOUT_FILENO : -1, .events = POLLOUT};
    while (poll(work, SOURCES, -1) < 0)
        continue;
}

/* Passes on what comes, both ways, until either side ends it; gives the exit status. */
static int run(struct client *client)
{
    struct pollfd work[SOURCES];
    while (!client->ended || client->screen.length > 0) {
        wait_for_work(client, work);
        if (work[WAKE].revents) {
            close_in_order(client);
            return EXIT_SUCCESS;
        }
        if (work[SCREEN].revents && !write_screen(client))
            return EXIT_FAILURE;
        if (work[SERVER].revents & ~POLLOUT && client->screen.length < MAX_WAITING)
            receive(client);
        if (work[KEYBOARD].revents)
            on_keyboard(client);
        if (!client->broken && !client->ended)
            send_typed(client);
    }
    return ending(client);
}

/* ---- 8. Start and stop ---------------------------------------------------------------------- */

static const char usage[] =
    "usage: chat-client [--host HOST] [--port PORT] [--name NAME] [--help] [--version]\n";

static void print_help(void)
{
    printf("%s\n"
           "A chat client. It shows what the server sends and sends each line of its input.\n"
           "The connection is not encrypted: whoever is on the way can read and change it.\n\n"
           "  --host HOST    where the server is (default %s)\n"
           "  --port PORT    its port (default %s)\n"
           "  --name NAME    the screen name to give (default: be asked for it)\n"
           "  --help         print this and exit\n"
           "  --version      print the version and exit\n\n"
           "In the chat, /help lists the commands. Ctrl+C ends the client; so does, once all is "
           "sent, Ctrl+D.\n",
           usage, HOST, PORT);
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
    return true;
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

/* An option that takes a value. */
struct value_option {
    const char *name;
    bool (*set)(struct options *options, const char *value); /* false: the value is no good */
};

static const struct value_option value_options[] = {
    {"--host", set_host},
    {"--port", set_port},
    {"--name", set_name},
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

/*
 * The first signal wakes the loop, and a second one finds the default action. Before there is a
 * connection there is nothing to close in order, and nobody to wake.
 */
static void on_signal(int number)
{
    int saved = errno;
    (void)number;
    if (wake_writer < 0)
        _exit(EXIT_SUCCESS);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    ssize_t written = write(wake_writer, "", 1);
    (void)written; /* an empty pipe has room, and nothing could be done about it here */
    errno = saved;
}

static void catch_signals(void)
{
    signal(SIGPIPE, SIG_IGN); /* standard output gone is noticed where it is written to */
    signal(SIGINT, on_signal);
    signal(SIGTERM, on_signal);
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
    static struct client client = {.options = {HOST, PORT, NULL}};
    (void)argc;
    open_standard_files();
    catch_signals();
    parse_options(&client.options, argv + 1);
    client.named = !client.options.name;
    client.fd = connect_to(&client.options);
    client.wake = make_wake();
    int status = run(&client);
    close(client.fd);
    return status;
}
