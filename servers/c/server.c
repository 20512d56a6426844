/*
 * chat_server: a chat server: one room, many users, lines of text over TCP. PROTOCOL.md is its
 * contract.
 *
 *     gcc -o chat_server server.c && ./chat_server        (--help lists the options)
 *     gcc -DACCOUNTS -o chat_server server.c -lcrypt -pthread        (with accounts)
 *
 * The path of a message:
 *
 *     socket -> inbox -> line -> action -> the room's stream / a user's queue -> socket
 *
 * Invariants:
 *  1. Only the section "Sockets" receives from, sends to, or closes a connection.
 *  2. Handlers never send. They append to the room's stream, which all users read, or to the queue
 *     of one user.
 *  3. Handlers never free a user. They mark it, and it is reaped at the end of the round.
 *  4. The names of the users in the room are unique, ignoring case.
 *  5. Text is bytes. It is checked once, and relayed unchanged. A checked line has no NUL; only
 *     such a line may be a C string.
 *  6. Only `gate` decides whether a user's next line is processed.
 *
 * One thread runs the loop, and silent users cost it nothing. Only slow work, which is hashing
 * passwords and writing the accounts file, is done by the worker threads of accounts.h.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <search.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/param.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* ---- 1. Limits ------------------------------------------------------------------------------ */

#define VERSION             "0.1.0"
#define MAX_NAME            32   /* bytes of a name */
#define MAX_LINE            1024 /* bytes of a line from a client or of /who, without its end */
#define MAX_REFUSALS        5    /* refused names on one connection; the last one ends it */
#define MIN_PASSWORD        8    /* bytes of a new password */
#define MAX_PASSWORD        72   /* bytes of a password: bcrypt looks at no more */
#define MAX_WRONG_PASSWORDS 3    /* on one connection; the last one ends it */
#define MAX_HELD            (64 * 1024)  /* bytes of one user's unprocessed input */
#define MAX_FORMATTED       1200         /* bytes of a text that `formatted` makes */
#define MAX_ADDRESS         80           /* bytes of a numeric address and port */
#define MAX_PIECES          64           /* pieces sent in one system call */
#define ROUND_SIZE          (256 * 1024) /* bytes queued in a round before all queues are sent */
#define CONSOLE_BATCH       4096         /* bytes of the console processed in one round */
#define EVENT_BATCH         256          /* events handled in one round */
#define ACCEPT_BATCH        64           /* connections accepted in one round */
#define BACKLOG             4096         /* connections that may wait to be accepted */

#define MILLISECOND     INT64_C(1000000) /* all times are in nanoseconds */
#define SECOND          INT64_C(1000000000)
#define NEVER           INT64_MAX     /* a time that never comes */
#define LINGER_TIME     SECOND        /* limit after our side has ended */
#define DRAIN_TIME      (10 * SECOND) /* limit to send a queue before our side ends */
#define FINISH_TIME     (SECOND / 2)  /* limit at a shutdown, to process what was received before */
#define LAST_WORDS_TIME (SECOND / 4)  /* limit at the end, to write the last lines */
#define ACCEPT_PAUSE    (SECOND / 10) /* without accepting when there are no descriptors left */
#define SWEEP_TICK      (10 * MILLISECOND) /* the least time between two sweeps */

#define PROMPT          "Enter your screen name: "
#define PASSWORD_PROMPT "Password: "

/* The units included below use these, too. */

static _Noreturn void __attribute__((format(printf, 2, 3))) die(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(status);
}

/* Ends the program where an allocation has failed. */
static void *checked(void *memory)
{
    if (!memory)
        die(EXIT_FAILURE, "chat-server: out of memory");
    return memory;
}

static void *allocate(size_t size)
{
    return checked(calloc(1, size));
}

/* Orders users, or accounts, by name, ignoring case. The name is the first member of both. */
static int compare_names(const void *a, const void *b)
{
    return strcasecmp(a, b);
}

/* Formats a text, which is valid until the next call. */
static const char *__attribute__((format(printf, 1, 2))) formatted(const char *format, ...)
{
    static char line[MAX_FORMATTED];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    return line;
}

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * SECOND + now.tv_nsec;
}

static size_t decode(const char *text, size_t left, uint32_t *code);
static bool is_control(uint32_t code);
static bool name_is_valid(const char *name);

#ifdef ACCOUNTS
#include "accounts.h"
#else /* the interface of accounts.h, where there are no accounts */
enum task { CHECK, RELOAD, REGISTER, PASSWD, UNREGISTER };
enum outcome { DONE, REFUSED, FAILED };
struct account {
    char name[1], hash[1];
};
struct job {
    enum task task;
    enum outcome outcome;
    void *owner;
    struct account account;
    char reason[1];
};
struct accounts {
    struct {
        int ours;
    } checks, changes;
};
#define hash_of(accounts, name)                        ((void)(accounts), (void)(name), NULL)
#define add_job(accounts, owner, task, name, password) NULL
#define finished(accounts)                             NULL
#define forget(accounts, job)                          ((void)0)
#define free_job(job)                                  ((void)0)
#define open_accounts(accounts, path)                  ((void)0)
#endif
#include "log.h"
#include "options.h"
#include "stream.h"

/* ---- 2. Types ------------------------------------------------------------------------------- */

/* Input that was received, and not processed yet. */
struct inbox {
    char *bytes; /* NULL where there are none */
    uint32_t length;
    uint32_t done; /* bytes at the front that were processed */
    bool too_long; /* inside a line that is too long: its bytes are discarded up to its end */
};

/* A complete line. */
struct line {
    char *text;    /* its bytes, with a NUL instead of its end */
    size_t length; /* more than MAX_LINE where it is too long; text is incomplete then */
};

/* The state of a connection. */
enum phase {
    NAMING,    /* asked for a name */
    PASSWORD,  /* asked for the password of the name that it gave */
    CHATTING,  /* in the room */
    LEAVING,   /* has left the room: its queue is sent, its input is discarded */
    LINGERING, /* our side has ended: its input is discarded until its side ends too */
    GONE,      /* will be reaped */
};

/* Whether a user's next line is processed now, and if not, why. */
enum gate {
    OPEN,
    FULL,      /* its queue is half full: its own commands must not get it dropped (LIMIT-6) */
    THROTTLED, /* it has reached its --rate (LIMIT-5) */
    BUSY,      /* it has a job, waiting or running (ACCT-12) */
    CLOSED,    /* it is leaving or gone */
};

union address {
    struct sockaddr any;
    struct sockaddr_in6 largest;
};

/* One connection. */
struct user {
    char name[MAX_NAME + 1]; /* in the phase PASSWORD: the name that it asks for */
    enum phase phase : 8;
    bool eof;     /* the client has ended its side */
    bool blocked; /* the socket's buffer is full, until EPOLLOUT */
    bool touched; /* is in server.touched */
    unsigned char refusals;
    unsigned char wrong; /* wrong passwords */
    int fd;
    uint32_t watched;       /* the epoll events that the loop waits for */
    union address address;  /* of the client, for the log */
    int64_t deadline;       /* when the time for its phase ends */
    int64_t left;           /* time that was left when a password check suspended the deadline */
    int64_t due;            /* for --rate: when its next line may be processed */
    uint64_t reply;         /* bytes that its last /who added to its queue, until they are sent */
    struct inbox inbox;     /* received, and not processed yet */
    struct cursor cursor;   /* its queue */
    struct account *proven; /* a copy of the account that it has proven to own (ACCT-5), or NULL */
    struct job *job;        /* what a worker does for it, or NULL */
    TAILQ_ENTRY(user) in_users;
    TAILQ_ENTRY(user) in_touched;
};

TAILQ_HEAD(user_list, user);

/* All state of the server. */
struct server {
    struct options options;
    struct sink output; /* standard output */
    struct sink log;
    struct stream stream; /* the lines of the room */
    int epoll_fd;
    int listener;
    int signals;              /* signalfd */
    sigset_t stops;           /* the signals that shut the server down */
    union address address;    /* where it listens */
    struct inbox console;     /* read from standard input, and not processed yet */
    bool console_is_file;     /* epoll refuses a file, which is always ready */
    bool stop_asked;          /* a signal or the operator has asked for a shutdown */
    bool stopping;            /* the shutdown has begun: everyone was dismissed */
    bool accept_failed;       /* the last attempt failed, and this was logged */
    int64_t now;              /* when the round began */
    int64_t accept_again;     /* when to accept again without an event */
    int64_t next_sweep;       /* when the next deadline may pass */
    struct user_list users;   /* all connections */
    struct user_list touched; /* users to flush; between rounds, those with lines to process */
    long clients;             /* connections that count for LIMIT-2 */
    size_t online;            /* users in the room */
    void *names;              /* tsearch tree of the users in the room, by name */
    uint64_t flushed;         /* end of the stream when its news were last sent */
    size_t load;              /* bytes queued in this round */
    struct accounts accounts;
};

static void show_address(char text[MAX_ADDRESS], const union address *address);
static void dismiss(struct server *s, struct user *user, const char *reason);
static void retire(struct server *s, struct user *user, const char *reason);
static void set_deadline(struct server *s, struct user *user, int64_t deadline);

/* ---- 3. Lines ------------------------------------------------------------------------------- */

static size_t kept(const struct inbox *inbox)
{
    return inbox->length - inbox->done;
}

/* The end of the first complete line, or NULL. */
static char *line_end(const struct inbox *inbox)
{
    return kept(inbox) > 0 ? memchr(inbox->bytes + inbox->done, '\n', kept(inbox)) : NULL;
}

/* Reads once, and returns the result of `read`. There is space for one byte more than MAX_HELD, to
 * notice the end of input after MAX_HELD bytes. */
static ssize_t fill(struct inbox *inbox, int fd, size_t most)
{
    if (!inbox->bytes)
        inbox->bytes = checked(malloc(MAX_HELD + 1));
    size_t room = MAX_HELD + 1 - inbox->length;
    ssize_t n = read(fd, inbox->bytes + inbox->length, MIN(room, most));
    inbox->length += n > 0 ? (uint32_t)n : 0;
    return n;
}

/* Moves the remaining bytes to the front, and frees the memory where there are none. Discards a
 * line that is too long while it arrives (LIMIT-4); byte MAX_LINE + 1 may be the CR of its end. */
static void pack(struct inbox *inbox)
{
    size_t left = kept(inbox);
    if ((inbox->too_long || left > MAX_LINE + 1) && !line_end(inbox)) {
        inbox->too_long = true;
        left = 0;
    }
    if (left > 0 && inbox->done > 0)
        memmove(inbox->bytes, inbox->bytes + inbox->done, left);
    inbox->length = (uint32_t)left;
    inbox->done = 0;
    if (left == 0) {
        free(inbox->bytes);
        inbox->bytes = NULL;
    }
}

static void empty(struct inbox *inbox)
{
    inbox->done = inbox->length;
    pack(inbox);
}

/* Removes and returns the next complete line, without its end; false where there is none. */
static bool take_line(struct inbox *inbox, struct line *line)
{
    char *lf = line_end(inbox), *end = lf;
    if (!lf)
        return false;
    line->text = inbox->bytes + inbox->done;
    if (end > line->text && end[-1] == '\r')
        end--;
    *end = '\0';
    line->length = inbox->too_long ? MAX_LINE + 1 : (size_t)(end - line->text);
    inbox->too_long = false;
    inbox->done = (uint32_t)(lf + 1 - inbox->bytes);
    return true;
}

/* Decodes the first UTF-8 character of a text. Returns its length; 0 where it is not valid. */
static size_t decode(const char *text, size_t left, uint32_t *code)
{
    static const uint32_t lowest[] = {0, 0, 0x80, 0x800, 0x10000}; /* below it: overlong */
    unsigned char first = (unsigned char)*text;
    size_t length = first < 0x80 ? 1 : first < 0xC0 ? 0 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
    if (length == 0 || length > left || first >= 0xF8)
        return 0;
    *code = length == 1 ? first : first & (0x7Fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((text[i] & 0xC0) != 0x80)
            return 0;
        *code = *code << 6 | (text[i] & 0x3F);
    }
    bool is_surrogate = *code >= 0xD800 && *code <= 0xDFFF;
    return *code >= lowest[length] && !is_surrogate && *code <= 0x10FFFF ? length : 0;
}

/* C0 except TAB, DEL, C1, line and paragraph separators, and bidirectional controls (FRAME-6). */
static bool is_control(uint32_t code)
{
    return (code < 0x20 && code != '\t') || (code >= 0x7F && code <= 0x9F) ||
           (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

/* Returns the error of a line, or NULL (FRAME-4 to FRAME-6, in that order). */
static const char *check_line(const struct line *line)
{
    bool has_control = false;
    size_t i = 0, length;
    uint32_t code;
    if (line->length > MAX_LINE)
        return "! line too long (limit 1024 bytes)\n";
    while (line->text[i] >= ' ' && line->text[i] < 0x7F)
        i++; /* most lines are ASCII, which needs no decoding */
    for (; i < line->length; i += length) {
        length = decode(line->text + i, line->length - i, &code);
        if (length == 0)
            return "! not valid UTF-8\n";
        has_control = has_control || is_control(code);
    }
    return has_control ? "! control characters are not allowed\n" : NULL;
}

/* Whether a text is empty or has only spaces and tabs. */
static bool is_blank(const char *text)
{
    return text[strspn(text, " \t")] == '\0';
}

/* Removes the spaces and tabs at both ends. */
static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t length = strlen(text);
    while (length > 0 && strchr(" \t", text[length - 1]))
        length--;
    text[length] = '\0';
    return text;
}

/* ---- 4. Room -------------------------------------------------------------------------------- */

/* Finds the user with a name, ignoring case. */
static struct user *find(const struct server *s, const char *name)
{
    struct user **found = tfind(name, &s->names, compare_names);
    return found ? *found : NULL;
}

/* Lists a user to be flushed at the end of the round. */
static void touch(struct server *s, struct user *user)
{
    if (user->touched)
        return;
    user->touched = true;
    TAILQ_INSERT_TAIL(&s->touched, user, in_touched);
}

/* Queues a line for everyone in the room except its sender, and for the operator. */
static void broadcast(struct server *s, const char *line, struct user *sender)
{
    size_t length = strlen(line);
    stream_append(&s->stream, line, length);
    if (sender)
        skip(&s->stream, &sender->cursor, length);
    s->load += length;
    if (!s->options.quiet)
        sink_put(&s->output, line, length);
}

/* Queues a text for one user, or for the operator where user is NULL. */
static void tell(struct server *s, struct user *user, const char *text)
{
    size_t length = strlen(text);
    if (!user) {
        sink_put(&s->output, text, length);
        return;
    }
    insert(&s->stream, &user->cursor, text, length);
    s->load += length;
    touch(s, user);
}

/* Logs an event of a connection, or of the server where user is NULL. */
static void log_about(struct server *s, const struct user *user, const char *msg, const char *name,
                      const char *reason)
{
    char addr[MAX_ADDRESS];
    if (s->log.fd < 0)
        return;
    show_address(addr, user ? &user->address : &s->address);
    log_event(&s->log, msg, "name", name, "addr", addr, "reason", reason, NULL);
}

/* Whether a name has the form that JOIN-2 requires. */
static bool name_is_valid(const char *name)
{
    size_t length =
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return length > 0 && length <= MAX_NAME && name[length] == '\0';
}

/* Whether a name is the account that the user has proven to own (ACCT-5). */
static bool has_proven(const struct server *s, const struct user *user, const char *name)
{
    const struct account *proven = user->proven;
    const char *hash = hash_of(&s->accounts, name);
    return proven && hash && strcasecmp(proven->name, name) == 0 && strcmp(proven->hash, hash) == 0;
}

/* Returns why a user cannot have a name, or NULL (JOIN-2, JOIN-3, ACCT-6, CMD-4). */
static const char *name_error(const struct server *s, const struct user *user, const char *name)
{
    if (!name_is_valid(name))
        return "! invalid name: use 1 to 32 letters, digits, \"_\" or \"-\"\n";
    const struct user *owner = find(s, name);
    bool is_reserved = strcasecmp(name, "server") == 0 || strcasecmp(name, "password") == 0;
    bool is_recased = owner == user && strcmp(name, user->name) != 0;
    if (is_reserved || (owner && !is_recased))
        return formatted("! name in use: %s\n", name);
    if (s->options.members_only && !hash_of(&s->accounts, name))
        return formatted("! name not registered: %s\n", name);
    return NULL;
}

/* Lets a user into the room. Its cursor starts after its own join notice. */
static void enter(struct server *s, struct user *user)
{
    if (!user->eof)
        user->deadline = NEVER;
    user->phase = CHATTING;
    checked(tsearch(user, &s->names, compare_names));
    s->online++;
    broadcast(s, formatted("%s has joined the chat\n", user->name), NULL);
    attach(&s->stream, &user->cursor);
    tell(s, user,
         formatted("Welcome, %s (%zu online). Type /help for commands.\n", user->name, s->online));
    log_about(s, user, "join", user->name, NULL);
}

/* Takes a user out of the room: frees its name, and tells the others. */
static void leave(struct server *s, struct user *user, const char *reason)
{
    tdelete(user, &s->names, compare_names);
    s->online--;
    if (s->stopping)
        return; /* STOP-2: no notices */
    detach(&s->stream, &user->cursor);
    broadcast(s, formatted("%s has left the chat\n", user->name), NULL);
    log_about(s, user, "leave", user->name, reason);
}

/* Broadcasts and logs a message (CHAT-1, CHAT-5). user is NULL for the operator. */
static void say(struct server *s, struct user *user, const char *line)
{
    const char *name = user ? user->name : "server";
    const char *text = line[0] == '/' ? line + 1 : line;
    broadcast(s, formatted("%s: %s\n", name, text), user);
    log_event(&s->log, "message", "name", name, "text", text, NULL);
}

/* ---- 5. Commands ---------------------------------------------------------------------------- */

/* An entry of a table of commands; in the operator's table, user is always NULL. */
struct command {
    const char *word; /* with its slash, in lower case; NULL ends the table */
    void (*run)(struct server *s, struct user *user, char *rest); /* rest: what follows the word */
    bool of_accounts;                                             /* exists only with --accounts */
};

/* Ends a line after its first word, and returns the rest, after the space. */
static char *split_command(char *line)
{
    char *rest = line + strcspn(line, " ");
    if (*rest != '\0')
        *rest++ = '\0';
    return rest;
}

static void cmd_help(struct server *s, struct user *user, char *rest)
{
    (void)rest;
    tell(s, user,
         formatted("Commands: /help, /who, /msg NAME TEXT, /nick NAME, %s/quit"
                   " (// to begin a message with /)\n",
                   s->options.accounts ? "/register PASSWORD, /passwd PASSWORD, /unregister, "
                                       : ""));
}

/* A line of a /who reply that is being built. */
struct who {
    struct server *s;
    struct user *asker; /* NULL for the operator */
    char line[MAX_LINE + 1];
    char *names; /* where the names begin in the line */
    char *end;   /* where they end */
};

static void who_name(const void *node, VISIT visit, void *closure)
{
    const struct user *user = *(struct user *const *)node;
    struct who *who = closure;
    if (visit != postorder && visit != leaf)
        return; /* twalk visits an inner node three times, and only postorder is in order */
    if (who->end + strlen(", ") + strlen(user->name) > who->line + MAX_LINE) {
        tell(who->s, who->asker, formatted("%s\n", who->line));
        who->end = who->names;
    }
    if (who->end > who->names)
        who->end = stpcpy(who->end, ", ");
    who->end = stpcpy(who->end, user->name);
}

/* Lists the users in the room, on as many lines as needed (CMD-2). */
static void who_lines(struct server *s, struct user *asker)
{
    struct who who = {.s = s, .asker = asker};
    who.names = who.end = who.line + sprintf(who.line, "Online (%zu): ", s->online);
    twalk_r(s->names, who_name, &who);
    tell(s, asker, formatted("%s\n", who.line));
}

/* /who: its reply may exceed LIMIT-1, and must not get the user dropped (LIMIT-6). */
static void cmd_who(struct server *s, struct user *user, char *rest)
{
    (void)rest;
    uint64_t before = waiting(&s->stream, &user->cursor);
    who_lines(s, user);
    user->reply = waiting(&s->stream, &user->cursor) - before;
}

static void cmd_msg(struct server *s, struct user *user, char *rest)
{
    char *name = rest + strspn(rest, " ");
    char *text = split_command(name);
    text += strspn(text, " ");
    struct user *target = find(s, name);
    if (*name == '\0' || is_blank(text)) {
        tell(s, user, "! usage: /msg NAME TEXT\n");
    } else if (!target) {
        tell(s, user, formatted("! no such user: %s\n", name));
    } else if (target == user) {
        tell(s, user, "! cannot message yourself\n");
    } else {
        tell(s, target, formatted("(private) %s: %s\n", user->name, text));
        log_event(&s->log, "private", "name", user->name, "to", target->name, NULL);
    }
}

static void cmd_nick(struct server *s, struct user *user, char *rest)
{
    char old[MAX_NAME + 1];
    char *name = trim(rest);
    const char *error = name_error(s, user, name);
    if (!error && hash_of(&s->accounts, name) && !has_proven(s, user, name))
        error = formatted("! name registered: %s\n", name);
    if (error) {
        tell(s, user, error);
        return;
    }
    strcpy(old, user->name);
    tdelete(user, &s->names, compare_names);
    strcpy(user->name, name);
    checked(tsearch(user, &s->names, compare_names));
    broadcast(s, formatted("%s is now known as %s\n", old, name), NULL);
    log_event(&s->log, "rename", "name", old, "to", name, NULL);
}

static void cmd_quit(struct server *s, struct user *user, char *rest)
{
    (void)rest;
    tell(s, user, formatted("Goodbye, %s\n", user->name));
    dismiss(s, user, "quit");
}

/* For each change of an account: its reason in the log, and its two replies. */
static const struct {
    const char *reason, *done, *refused;
} changes[] = {
    [REGISTER] = {"register", "Registered %s\n", "! already registered: %s\n"},
    [PASSWD] = {"passwd", "Password changed\n", "! not registered: %s\n"},
    [UNREGISTER] = {"unregister", "Unregistered %s\n", "! not registered: %s\n"},
};

/* Has a worker change the user's account; its next lines wait for the reply (ACCT-10). */
static void change_account(struct server *s, struct user *user, enum task task, char *password)
{
    const char *name = user->name;
    size_t length = strlen(password);
    bool is_possible = task == REGISTER ? !hash_of(&s->accounts, name) : has_proven(s, user, name);
    if (!is_possible)
        tell(s, user, formatted(changes[task].refused, name));
    else if (task != UNREGISTER && (length < MIN_PASSWORD || length > MAX_PASSWORD))
        tell(s, user, formatted("! password must be %d to %d bytes\n", MIN_PASSWORD, MAX_PASSWORD));
    else if (!(user->job = add_job(&s->accounts, user, task, name, password))) /* ACCT-13 */
        tell(s, user, "! accounts cannot be changed now\n");
}

static void cmd_register(struct server *s, struct user *user, char *rest)
{
    change_account(s, user, REGISTER, rest + strspn(rest, " "));
}

static void cmd_passwd(struct server *s, struct user *user, char *rest)
{
    change_account(s, user, PASSWD, rest + strspn(rest, " "));
}

static void cmd_unregister(struct server *s, struct user *user, char *rest)
{
    change_account(s, user, UNREGISTER, rest + strlen(rest)); /* without a password */
}

/* Records the account that the user has proven to own, instead of any earlier one. */
static void prove(struct user *user, const struct account *account)
{
    if (!user->proven)
        user->proven = allocate(sizeof *user->proven);
    *user->proven = *account;
}

/* Tells a user the result of its /register, /passwd or /unregister. */
static void account_changed(struct server *s, struct user *user, const struct job *job)
{
    bool is_done = job->outcome == DONE;
    const char *answer = is_done ? changes[job->task].done : changes[job->task].refused;
    if (is_done && job->task != UNREGISTER)
        prove(user, &job->account);
    if (job->outcome == FAILED)
        tell(s, user, "! accounts cannot be changed now\n");
    else
        tell(s, user, formatted(answer, user->name));
}

static const struct command commands[] = {
    {"/help", cmd_help, false},    {"/who", cmd_who, false},
    {"/msg", cmd_msg, false},      {"/nick", cmd_nick, false},
    {"/quit", cmd_quit, false},    {"/register", cmd_register, true},
    {"/passwd", cmd_passwd, true}, {"/unregister", cmd_unregister, true},
    {NULL, NULL, false},
};

/* ---- 6. Lines to actions -------------------------------------------------------------------- */

/* Returns whether a user's next line is processed now, and if not, why. */
static enum gate gate(const struct server *s, const struct user *user)
{
    if (user->phase > CHATTING)
        return CLOSED;
    if (user->job)
        return BUSY;
    if (waiting(&s->stream, &user->cursor) > (uint64_t)s->options.max_queue / 2)
        return FULL;
    return user->due > s->now ? THROTTLED : OPEN;
}

/* Logs a refusal, tells the user, and repeats the prompt or ends the connection. */
static void ask_again(struct server *s, struct user *user, const char *reason, const char *error,
                      const char *prompt, bool may_try)
{
    log_about(s, user, "refuse", NULL, reason);
    tell(s, user, error);
    tell(s, user, may_try ? prompt : "! too many attempts\n");
    if (!may_try)
        dismiss(s, user, NULL);
}

/* Tells why a name is refused, and asks again, up to the fifth refusal (JOIN-7). */
static void refuse_name(struct server *s, struct user *user, const char *reason, const char *error)
{
    ask_again(s, user, reason, error, PROMPT, ++user->refusals < MAX_REFUSALS);
}

/* Processes a line as the answer to the prompt for a name. */
static void handle_name(struct server *s, struct user *user, char *line, const char *bad_line)
{
    char *name = trim(line);
    const char *error = bad_line ? bad_line : name_error(s, user, name);
    if (error) {
        refuse_name(s, user, bad_line ? "line" : "name", error);
        return;
    }
    strcpy(user->name, name);
    if (hash_of(&s->accounts, name)) {
        user->phase = PASSWORD;
        tell(s, user, PASSWORD_PROMPT);
    } else {
        enter(s, user);
    }
}

/* Tells that a password is refused, and asks again, up to the third refusal (ACCT-2). */
static void refuse_password(struct server *s, struct user *user, const char *bad_line)
{
    ask_again(s, user, bad_line ? "line" : "password", bad_line ? bad_line : "! wrong password\n",
              PASSWORD_PROMPT, ++user->wrong < MAX_WRONG_PASSWORDS);
}

/* Processes a line, unchanged, as the answer to the prompt for a password. */
static void handle_password(struct server *s, struct user *user, char *line, const char *bad_line)
{
    if (bad_line || strlen(line) > MAX_PASSWORD) {
        refuse_password(s, user, bad_line);
        return;
    }
    user->job = add_job(&s->accounts, user, CHECK, user->name, line);
    if (!user->eof) { /* the check does not count as time for joining (JOIN-8) */
        user->left = user->deadline - s->now;
        user->deadline = NEVER;
    }
}

/* Lets a user in if its password was right and the name is still free (ACCT-3, ACCT-4). */
static void password_checked(struct server *s, struct user *user, const struct job *job)
{
    if (!user->eof)
        set_deadline(s, user, s->now + user->left);
    if (job->outcome != DONE) {
        refuse_password(s, user, NULL);
        return;
    }
    const char *error = name_error(s, user, user->name);
    prove(user, &job->account);
    user->phase = NAMING;
    if (error)
        refuse_name(s, user, "name", error);
    else
        enter(s, user);
}

/* Runs a command of a user, or of the operator, for whom user is NULL. */
static void handle_command(struct server *s, struct user *user, const struct command *table,
                           char *line)
{
    char *rest = split_command(line);
    while (table->word && strcasecmp(table->word, line) != 0)
        table++;
    if (table->word && (!table->of_accounts || s->options.accounts))
        table->run(s, user, rest);
    else
        tell(s, user, formatted("! unknown command: %s (try /help)\n", line));
}

/* Processes a line of a user or of the operator as a message or a command. */
static void handle_chat(struct server *s, struct user *user, const struct command *table,
                        char *line, const char *bad_line)
{
    if (bad_line && user)
        log_about(s, user, "refuse", NULL, "line");
    if (bad_line)
        tell(s, user, bad_line);
    else if (line[0] == '/' && line[1] != '/')
        handle_command(s, user, table, line);
    else if (!is_blank(line))
        say(s, user, line);
}

static void handle_line(struct server *s, struct user *user, const struct line *line)
{
    const char *bad_line = check_line(line);
    if (user->phase == NAMING)
        handle_name(s, user, line->text, bad_line);
    else if (user->phase == PASSWORD)
        handle_password(s, user, line->text, bad_line);
    else
        handle_chat(s, user, commands, line->text, bad_line);
}

/* Counts a line for --rate; a burst may use a whole second (LIMIT-5). */
static void count_line(const struct server *s, struct user *user)
{
    if (s->options.rate == 0 || user->phase != CHATTING)
        return;
    int64_t share = SECOND / s->options.rate;
    int64_t earliest = s->now - SECOND + share;
    user->due = MAX(user->due, earliest) + share;
}

/* Whether this round has no room for more, so that all queues are sent first. Otherwise the server
 * could drop a user who reads fast enough, but had no chance to read. */
static bool round_is_full(const struct server *s)
{
    return s->load > MIN(ROUND_SIZE, (size_t)s->options.max_queue / 2);
}

/* Processes a user's complete lines, as long as its gate is open and the round has room. */
static void take_up(struct server *s, struct user *user)
{
    struct line line;
    while (!round_is_full(s) && gate(s, user) == OPEN && take_line(&user->inbox, &line)) {
        count_line(s, user);
        handle_line(s, user, &line);
    }
    pack(&user->inbox);
    if (user->eof && user->phase <= CHATTING && !user->job && !line_end(&user->inbox))
        retire(s, user, "eof");
    touch(s, user);
}

/* Logs a change, even if its user is gone: it was made. */
static void log_change(struct server *s, const struct job *job)
{
    const char *reason = changes[job->task].reason;
    if (job->outcome == FAILED)
        log_error(&s->log, formatted("accounts %s: %s", s->options.accounts, job->reason));
    else if (job->outcome == DONE && reason)
        log_event(&s->log, "account", "name", job->account.name, "reason", reason, NULL);
}

/* Acts on finished jobs. */
static void jobs_done(struct server *s)
{
    struct job *job;
    while ((job = finished(&s->accounts))) {
        struct user *user = job->owner;
        log_change(s, job);
        if (user) {
            user->job = NULL;
            if (job->task == CHECK)
                password_checked(s, user, job);
            else
                account_changed(s, user, job);
            take_up(s, user);
        }
        free_job(job);
    }
}

/* ---- 7. Console ----------------------------------------------------------------------------- */

static void op_help(struct server *s, struct user *user, char *rest)
{
    (void)rest;
    tell(s, user,
         "Commands: /help, /who, /kick NAME, /shutdown (// to begin an announcement with /)\n");
}

static void op_who(struct server *s, struct user *user, char *rest)
{
    (void)rest;
    who_lines(s, user);
}

static void op_kick(struct server *s, struct user *user, char *rest)
{
    char *name = trim(rest);
    struct user *target = find(s, name);
    if (*name == '\0') {
        tell(s, user, "! usage: /kick NAME\n");
    } else if (!target) {
        tell(s, user, formatted("! no such user: %s\n", name));
    } else {
        tell(s, target, "! kicked by the operator\n");
        dismiss(s, target, "kick");
    }
}

static void op_shutdown(struct server *s, struct user *user, char *rest)
{
    (void)user, (void)rest;
    s->stop_asked = true;
}

static const struct command op_commands[] = {
    {"/help", op_help, false},         {"/who", op_who, false}, {"/kick", op_kick, false},
    {"/shutdown", op_shutdown, false}, {NULL, NULL, false},
};

/* Processes one line from the operator: an announcement or a command. */
static void console_line(struct server *s, const struct line *line)
{
    handle_chat(s, NULL, op_commands, line->text, check_line(line));
}

/* Continues without a console. */
static void close_console(struct server *s)
{
    epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    s->console_is_file = false;
    empty(&s->console); /* an incomplete last line is ignored (FRAME-8) */
}

/* Reads from standard input, and processes the complete lines. An error, such as EIO in the
 * background of a terminal, is treated as the end (OPER-2). */
static void read_console(struct server *s)
{
    struct line line;
    ssize_t n = fill(&s->console, STDIN_FILENO, CONSOLE_BATCH);
    if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) {
        close_console(s);
        return;
    }
    while (!s->stop_asked && take_line(&s->console, &line))
        console_line(s, &line);
    pack(&s->console);
}

/* ---- 8. Sockets ----------------------------------------------------------------------------- */

/* Schedules a sweep at a time, or one tick from now at the earliest. */
static void sweep_by(struct server *s, int64_t time)
{
    s->next_sweep = MIN(s->next_sweep, MAX(time, s->now + SWEEP_TICK));
}

/* Sets when a user's time ends. */
static void set_deadline(struct server *s, struct user *user, int64_t deadline)
{
    user->deadline = deadline;
    sweep_by(s, deadline);
}

/* Whether a line can be processed now. For a throttled user it schedules a sweep. */
static bool has_turn(struct server *s, struct user *user)
{
    enum gate state = line_end(&user->inbox) ? gate(s, user) : CLOSED;
    if (state == THROTTLED)
        sweep_by(s, user->due);
    return state == OPEN;
}

/* Updates the events to wait for. */
static void watch(struct server *s, struct user *user)
{
    if (user->phase == GONE)
        return;
    struct epoll_event event = {.events = user->blocked ? (uint32_t)EPOLLOUT : 0, .data.ptr = user};
    if (!user->eof && kept(&user->inbox) <= MAX_HELD)
        event.events |= EPOLLIN;
    if (event.events != user->watched) {
        user->watched = event.events;
        epoll_ctl(s->epoll_fd, EPOLL_CTL_MOD, user->fd, &event);
    }
}

/* Takes a user out of the room or away from its prompt; discards its further input. */
static void retire(struct server *s, struct user *user, const char *reason)
{
    if (user->phase == CHATTING)
        leave(s, user, reason);
    user->phase = MAX(user->phase, LEAVING);
    if (user->job)
        forget(&s->accounts, user->job);
    user->job = NULL;
    empty(&user->inbox);
    touch(s, user);
}

/* Ends a connection in order: its queue is sent first (LEAVE-4). */
static void dismiss(struct server *s, struct user *user, const char *reason)
{
    retire(s, user, reason);
    if (!user->eof) /* otherwise the time is running since then */
        set_deadline(s, user, s->now + DRAIN_TIME);
}

/* Ends a connection now, and discards its queue. A user in the room needs a reason. */
static void drop(struct server *s, struct user *user, const char *reason)
{
    if (user->phase < LINGERING)
        s->clients--;
    clear(&user->cursor);
    retire(s, user, reason);
    user->phase = GONE;
    user->deadline = NEVER;
}

/* The client has ended its side. Its lines and queue are handled first (LEAVE-2). */
static void hang_up(struct server *s, struct user *user)
{
    user->eof = true;
    if (user->phase == LINGERING) {
        drop(s, user, NULL);
    } else if (user->phase < LEAVING) {
        set_deadline(s, user, MIN(user->deadline, s->now + DRAIN_TIME));
        take_up(s, user);
    }
}

/* Ends our side of a connection after its queue was sent. */
static void end_sending(struct server *s, struct user *user)
{
    shutdown(user->fd, SHUT_WR);
    user->phase = LINGERING;
    s->clients--;
    set_deadline(s, user, MIN(user->deadline, s->now + LINGER_TIME));
    if (user->eof)
        drop(s, user, NULL);
}

/* Receives once from a user. Input from a user that is leaving is discarded. */
static void receive(struct server *s, struct user *user)
{
    ssize_t n = fill(&user->inbox, user->fd, SIZE_MAX);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        drop(s, user, "reset");
    else if (n == 0)
        hang_up(s, user);
    else if (user->phase > CHATTING)
        empty(&user->inbox);
    else if (n > 0)
        take_up(s, user);
    pack(&user->inbox);
}

/* Handles the events of a socket. After a reset, held lines are not processed (LIMIT-5). */
static void user_ready(struct server *s, struct user *user, uint32_t events)
{
    if (user->phase == GONE)
        return; /* dropped earlier in this round */
    bool has_failed = events & (EPOLLERR | EPOLLHUP);
    if (events & EPOLLOUT)
        user->blocked = false;
    if (has_failed && (!(user->watched & EPOLLIN) || kept(&user->inbox) > 0))
        drop(s, user, "reset");
    else if (has_failed || events & EPOLLIN)
        receive(s, user);
    touch(s, user);
}

/* Sends the next pieces of a user's queue; returns the result of `sendmsg`. */
static ssize_t send_pieces(const struct server *s, struct user *user)
{
    struct iovec pieces[MAX_PIECES];
    struct msghdr message = {.msg_iov = pieces};
    struct cursor ahead = user->cursor;
    while (message.msg_iovlen < MAX_PIECES &&
           next_piece(&s->stream, &ahead, SIZE_MAX, &pieces[message.msg_iovlen]))
        message.msg_iovlen++;
    ssize_t sent = message.msg_iovlen > 0 ? sendmsg(user->fd, &message, MSG_NOSIGNAL) : 0;
    advance(&s->stream, &user->cursor, sent > 0 ? (size_t)sent : 0);
    return sent;
}

/* Sends a user's queue, as far as the kernel takes it now. */
static void send_waiting(struct server *s, struct user *user)
{
    ssize_t sent;
    do
        sent = send_pieces(s, user);
    while (sent > 0 && waiting(&s->stream, &user->cursor) > 0);
    if (sent < 0 && errno != EAGAIN && errno != EINTR)
        drop(s, user, "reset");
    else
        user->blocked = waiting(&s->stream, &user->cursor) > 0;
}

/* Whether a user's queue is too long, its last /who reply excepted (LIMIT-1). */
static bool is_over(const struct server *s, const struct user *user)
{
    uint64_t most = (uint64_t)s->options.max_queue + user->reply;
    return user->phase == CHATTING && waiting(&s->stream, &user->cursor) > most;
}

/* Sends a user's queue, as far as the kernel takes it, and acts on what is left. While the socket's
 * buffer is full it tries only before it drops the user (LIMIT-1). */
static void flush(struct server *s, struct user *user)
{
    if (!user->blocked || is_over(s, user))
        send_waiting(s, user);
    uint64_t left = waiting(&s->stream, &user->cursor);
    if (left <= (uint64_t)s->options.max_queue)
        user->reply = 0;
    if (user->phase == LEAVING && left == 0)
        end_sending(s, user);
    else if (is_over(s, user))
        drop(s, user, "slow");
    watch(s, user);
}

/* Frees a user that is gone, at the end of a round, when nothing points to it any more. */
static void reap(struct server *s, struct user *user)
{
    TAILQ_REMOVE(&s->users, user, in_users);
    close(user->fd);
    free(user->proven);
    free(user);
}

/* Has the loop wait for the events of a source; false where it cannot. */
static bool watch_source(struct server *s, int fd, uint32_t events, void *source)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* Asks a new connection for its name, or refuses it where the server is full (LIMIT-2). */
static void greet(struct server *s, int fd, const union address *address)
{
    struct user *user = allocate(sizeof *user);
    user->fd = fd;
    user->address = *address;
    user->watched = EPOLLIN;
    TAILQ_INSERT_TAIL(&s->users, user, in_users);
    s->clients++;
    log_about(s, user, "connect", NULL, NULL);
    if (!watch_source(s, fd, user->watched, user)) {
        log_error(&s->log, formatted("cannot watch a connection: %s", strerror(errno)));
        drop(s, user, NULL);
    } else if (s->clients > s->options.max_clients) {
        log_about(s, user, "refuse", NULL, "full");
        tell(s, user, "! server full\n");
        dismiss(s, user, NULL);
    } else {
        set_deadline(s, user, s->now + s->options.join_timeout);
        tell(s, user, PROMPT);
        receive(s, user); /* the name may have arrived already: one send then answers both */
    }
}

/* Accepts new connections, up to ACCEPT_BATCH; the rest in the next round, because the
 * edge-triggered listener reports only new ones. Other errors concern one failed connection. */
static void accept_users(struct server *s)
{
    s->accept_again = s->now;
    for (int i = 0; i < ACCEPT_BATCH; i++) {
        union address address = {0};
        socklen_t length = sizeof address;
        int fd = accept4(s->listener, &address.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            s->accept_failed = false;
            greet(s, fd, &address);
        } else if (errno == EAGAIN) {
            s->accept_again = NEVER;
            return;
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            if (!s->accept_failed)
                log_error(&s->log, formatted("cannot accept connections: %s", strerror(errno)));
            s->accept_failed = true;
            s->accept_again = s->now + ACCEPT_PAUSE;
            return;
        }
    }
}

/* ---- 9. Loop -------------------------------------------------------------------------------- */

/* Ends a connection whose deadline has passed. */
static void expire(struct server *s, struct user *user)
{
    if (user->phase > CHATTING) {
        drop(s, user, NULL);
    } else if (user->eof) { /* its lines or its job took longer than DRAIN_TIME */
        retire(s, user, "eof");
        set_deadline(s, user, s->now + LINGER_TIME);
    } else {
        log_about(s, user, "refuse", NULL, "timeout");
        tell(s, user, "\n! timed out\n");
        dismiss(s, user, NULL);
    }
}

/* Acts on all deadlines that have passed, and finds the next one. */
static void sweep(struct server *s)
{
    struct user *user;
    if (s->now < s->next_sweep)
        return;
    s->next_sweep = NEVER;
    TAILQ_FOREACH (user, &s->users, in_users) {
        if (user->deadline <= s->now)
            expire(s, user);
        else
            sweep_by(s, user->deadline);
        if (has_turn(s, user))
            touch(s, user);
    }
}

/* Returns the milliseconds until the next timer; -1 where there is none. */
static int next_timeout(const struct server *s)
{
    int64_t due = MIN(s->accept_again, s->next_sweep);
    if (s->console_is_file || !TAILQ_EMPTY(&s->touched))
        return 0;
    if (due == NEVER)
        return -1;
    int64_t wait = (due - now_ns() + MILLISECOND - 1) / MILLISECOND;
    return (int)MAX(0, MIN(wait, INT_MAX));
}

/* Processes the lines of users in turn; who gets no turn now is first in the next round. */
static void take_turns(struct server *s)
{
    struct user *user = NULL, *last = TAILQ_LAST(&s->touched, user_list);
    while (!round_is_full(s) && user != last) {
        user = TAILQ_FIRST(&s->touched);
        TAILQ_REMOVE(&s->touched, user, in_touched);
        TAILQ_INSERT_TAIL(&s->touched, user, in_touched);
        take_up(s, user);
    }
}

/* Lists all users in the room to be flushed, if there is new text. */
static void send_news(struct server *s)
{
    struct user *user;
    if (s->flushed == s->stream.end)
        return;
    TAILQ_FOREACH (user, &s->users, in_users)
        if (user->phase == CHATTING)
            touch(s, user);
    s->flushed = s->stream.end;
}

/* Flushes all listed users, and reaps those that are gone. A user who is dropped here adds a leave
 * notice, so this repeats until no news is left. Users with lines stay listed. */
static void flush_all(struct server *s)
{
    struct user *user;
    struct user_list turns = TAILQ_HEAD_INITIALIZER(turns);
    s->load = 0;
    for (send_news(s); (user = TAILQ_FIRST(&s->touched)); send_news(s)) {
        TAILQ_REMOVE(&s->touched, user, in_touched);
        user->touched = false;
        if (user->phase == GONE) {
            reap(s, user);
            continue;
        }
        flush(s, user); /* lists a user that it drops again */
        if (has_turn(s, user)) {
            TAILQ_INSERT_TAIL(&turns, user, in_touched);
            user->touched = true;
        }
    }
    TAILQ_CONCAT(&s->touched, &turns, in_touched);
    stream_trim(&s->stream);
    sink_flush(&s->output);
    sink_flush(&s->log);
}

static void stop(struct server *s);

/* Acts on signals: SIGHUP reopens the log and reloads the accounts, others shut down. A second stop
 * signal finds the default action, and ends the process (STOP-5). */
static void read_signals(struct server *s)
{
    struct signalfd_siginfo signal;
    while (read(s->signals, &signal, sizeof signal) == sizeof signal) {
        if (sigismember(&s->stops, (int)signal.ssi_signo)) {
            s->stop_asked = true;
            sigprocmask(SIG_UNBLOCK, &s->stops, NULL);
            continue;
        }
        if (s->options.log)
            reopen(&s->log);
        if (s->options.accounts)
            add_job(&s->accounts, NULL, RELOAD, "", (char[]){""});
    }
}

static void handle_event(struct server *s, const struct epoll_event *event)
{
    void *source = event->data.ptr;
    if (source == &s->output || source == &s->log)
        ((struct sink *)source)->blocked = false; /* it is flushed at the end of the round */
    else if (source == &s->listener)
        accept_users(s);
    else if (source == &s->signals)
        read_signals(s);
    else if (source == &s->console)
        read_console(s);
    else if (source == &s->accounts)
        jobs_done(s);
    else
        user_ready(s, source, event->events);
}

/* Waits for events, handles them, and sends all queues. */
static void one_round(struct server *s)
{
    struct epoll_event events[EVENT_BATCH];
    int count = epoll_wait(s->epoll_fd, events, EVENT_BATCH, next_timeout(s));
    s->now = now_ns();
    take_turns(s);
    for (int i = 0; i < count; i++)
        handle_event(s, &events[i]);
    if (s->console_is_file)
        read_console(s);
    if (s->accept_again <= s->now)
        accept_users(s);
    sweep(s);
    if (s->stop_asked && !s->stopping)
        stop(s);
    flush_all(s);
}

/* Serves until the server was stopped and all users are gone. */
static void run(struct server *s)
{
    while (!s->stopping || !TAILQ_EMPTY(&s->users))
        one_round(s);
}

/* ---- 10. Start and stop --------------------------------------------------------------------- */

/* Formats an address as PROG-3 requires. */
static void show_address(char text[MAX_ADDRESS], const union address *address)
{
    char host[NI_MAXHOST] = "", port[NI_MAXSERV] = "";
    getnameinfo(&address->any, sizeof *address, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    bool is_mapped = strncmp(host, "::ffff:", 7) == 0 && strchr(host, '.');
    const char *figures = is_mapped ? host + 7 : host;
    snprintf(text, MAX_ADDRESS, strchr(figures, ':') ? "[%s]:%s" : "%s:%s", figures, port);
}

/* Processes what was received before the signal: it precedes the notice (STOP-2). */
static void finish_turns(struct server *s)
{
    int64_t until = now_ns() + FINISH_TIME;
    flush_all(s);
    while (!TAILQ_EMPTY(&s->touched) && now_ns() < until) {
        take_turns(s);
        flush_all(s);
    }
}

/* Begins the shutdown: processes earlier input, then notifies and dismisses everyone (STOP-1). */
static void stop(struct server *s)
{
    struct user *user;
    close_console(s);
    close(s->listener);
    s->accept_again = NEVER;
    finish_turns(s);
    s->now = now_ns();
    s->stopping = true;
    broadcast(s, "Server is shutting down\n", NULL);
    log_about(s, NULL, "shutdown", NULL, NULL);
    TAILQ_FOREACH (user, &s->users, in_users) {
        if (user->phase < CHATTING)
            tell(s, user, formatted("%sServer is shutting down\n", user->job ? "" : "\n"));
        if (user->phase <= CHATTING)
            retire(s, user, NULL);
        if (user->phase < GONE)
            set_deadline(s, user, s->now + LINGER_TIME);
    }
}

/* Ends the program where the system has refused a descriptor (PROG-9). */
static int needed(int fd)
{
    if (fd < 0)
        die(EXIT_FAILURE, "cannot start: %s", strerror(errno));
    return fd;
}

/* If one of the descriptors 0 to 2 was closed, a connection could get its number. */
static void open_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            needed(open("/dev/null", O_RDWR));
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit); /* LIMIT-3 */
}

/* Accepted connections inherit these: no delay (FRAME-9), vanished peers noticed (LEAVE-5). */
static void configure(int listener)
{
    const struct {
        int level, name, value;
    } options[] = {
        {SOL_SOCKET, SO_REUSEADDR, 1},           {IPPROTO_TCP, TCP_NODELAY, 1},
        {SOL_SOCKET, SO_KEEPALIVE, 1},           {IPPROTO_TCP, TCP_KEEPIDLE, 60},
        {IPPROTO_TCP, TCP_KEEPINTVL, 15},        {IPPROTO_TCP, TCP_KEEPCNT, 4},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, 120000},
    };
    for (size_t i = 0; i < sizeof options / sizeof *options; i++)
        setsockopt(listener, options[i].level, options[i].name, &options[i].value, sizeof(int));
}

/* Listens on the first IPv4 address of the host, or else on its first address (PROG-1). It asks for
 * all: for IPv4 only, glibc replaces an address ::1 in /etc/hosts by 127.0.0.1. */
static int listen_on(const char *host, long number)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found = NULL;
    char port[16];
    snprintf(port, sizeof port, "%ld", number);
    int error = getaddrinfo(host, port, &hints, &found);
    const struct addrinfo *address = found;
    while (address && address->ai_family != AF_INET)
        address = address->ai_next;
    if (!address)
        address = found;
    int fd =
        address ? socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) : -1;
    if (fd >= 0)
        configure(fd);
    if (fd < 0 || bind(fd, address->ai_addr, address->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
        die(EXIT_FAILURE,
            strchr(host, ':') ? "cannot listen on [%s]:%s: %s" : "cannot listen on %s:%s: %s", host,
            port, error && error != EAI_SYSTEM ? gai_strerror(error) : strerror(errno));
    freeaddrinfo(found);
    return fd;
}

static bool is_ignored(int number)
{
    struct sigaction action;
    return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

/* Lets the first stop signal shut the server down, and a second one end the process (STOP-5). The
 * loop reads signals from a descriptor, so they interrupt nothing. SIGINT and SIGHUP stay ignored
 * if they were, unless SIGHUP reopens the log or reloads the accounts (PROG-10). */
static void catch_signals(struct server *s)
{
    bool has_files = s->options.log || s->options.accounts;
    sigset_t caught;
    signal(SIGPIPE, SIG_IGN); /* writing to a closed pipe fails instead */
    signal(SIGXFSZ, SIG_IGN); /* writing beyond the limit of a file's size fails instead (LOG-4) */
    signal(SIGTTIN, SIG_IGN); /* reading the terminal in the background fails instead (OPER-2) */
    signal(SIGTTOU, SIG_IGN); /* writing to it is allowed */
    signal(SIGTERM, SIG_DFL);
    sigemptyset(&caught);
    sigaddset(&caught, SIGTERM);
    if (!is_ignored(SIGINT))
        sigaddset(&caught, SIGINT);
    if (has_files || !is_ignored(SIGHUP)) /* signalfd gets a blocked signal even if it is ignored */
        sigaddset(&caught, SIGHUP);
    s->stops = caught;
    if (has_files)
        sigdelset(&s->stops, SIGHUP); /* reopens and reloads (LOG-7, FILE-4); otherwise STOP-6 */
    sigprocmask(SIG_SETMASK, &caught, NULL);
    s->signals = needed(signalfd(-1, &caught, SFD_NONBLOCK | SFD_CLOEXEC));
}

static void watch_sources(struct server *s)
{
    bool good = watch_source(s, s->listener, EPOLLIN | EPOLLET, &s->listener) &&
                watch_source(s, s->signals, EPOLLIN, &s->signals) &&
                (!s->options.accounts ||
                 (watch_source(s, s->accounts.checks.ours, EPOLLIN, &s->accounts) &&
                  watch_source(s, s->accounts.changes.ours, EPOLLIN, &s->accounts)));
    if (!good)
        die(EXIT_FAILURE, "cannot start: %s", strerror(errno));
    /* /dev/null is such a file, too. If it cannot be read, read_console closes it. */
    s->console_is_file = !watch_source(s, STDIN_FILENO, EPOLLIN, &s->console);
}

/* Opens accounts, log and listener, and prints the ready line (PROG-3); or ends the program. */
static void start(struct server *s)
{
    char address[MAX_ADDRESS];
    socklen_t length = sizeof s->address;
    TAILQ_INIT(&s->users);
    TAILQ_INIT(&s->touched);
    s->accept_again = s->next_sweep = NEVER;
    add_block(&s->stream);
    s->epoll_fd = needed(epoll_create1(EPOLL_CLOEXEC));
    catch_signals(s); /* before the threads start: they inherit the blocked signals */
    if (s->options.accounts)
        open_accounts(&s->accounts, s->options.accounts);
    open_sink(&s->output, "standard output", STDOUT_FILENO, s->epoll_fd);
    open_log(&s->log, s->options.log, s->epoll_fd);
    raise_descriptor_limit();
    s->listener = listen_on(s->options.host, s->options.port);
    getsockname(s->listener, &s->address.any, &length);
    watch_sources(s);
    log_about(s, NULL, "start", NULL, NULL);
    show_address(address, &s->address);
    tell(s, NULL, formatted("Listening on %s\n", address));
    flush_all(s);
}

int main(int argc, char **argv)
{
    static struct server s; /* zeroed, and large: two sinks of 1 MiB */
    (void)argc;
    open_standard_files();
    s.options = parse_options(argv + 1);
    start(&s);
    run(&s);
    log_about(&s, NULL, "stop", NULL, NULL);
    int64_t until = now_ns() + LAST_WORDS_TIME; /* STOP-3 */
    sink_finish(&s.log, until);
    sink_finish(&s.output, until);
    return EXIT_SUCCESS;
}
