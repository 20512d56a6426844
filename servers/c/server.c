/*
 * chat_server: the chat server in C, for Linux. PROTOCOL.md is the contract that it keeps;
 * ids such as JOIN-3 name its rules.
 *
 *     gcc -o chat_server server.c && ./chat_server        (--help says the rest)
 *     gcc -DACCOUNTS -o chat_server server.c -lcrypt -pthread        (with accounts)
 *
 * One thread and one epoll loop. What comes in takes one way through this file:
 *
 *     socket -> inbox -> line -> action -> the room's stream / a user's queue -> socket
 *
 * Next door: stream.h (what all read), accounts.h (passwords), log.h (what is written down),
 * options.h (the command line).
 *
 * What always holds:
 *  1. Only section 8 receives from, sends to and closes a connection.
 *  2. To speak is to append: to the room's stream, or to one user's queue. No handler sends.
 *  3. No user is freed inside a handler: it is marked as GONE, and reaped at the end of the round.
 *  4. Names are unique, case aside, among those in the room.
 *  5. Text is bytes. A checked line has no NUL in it, so it may be a C string; nothing else may.
 *  6. Only `gate` decides whether a user's next line is taken up.
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
#define MAX_LINE            1024 /* bytes of a line from a client, or of /who; its end not counted */
#define MAX_REFUSALS        5    /* refused names on one connection; the last ends it */
#define MIN_PASSWORD        8    /* bytes of a new password */
#define MAX_PASSWORD        72   /* bytes of a password: bcrypt looks at no more */
#define MAX_WRONG_PASSWORDS 3    /* on one connection; the last ends it */
#define MAX_HELD            (64 * 1024)  /* bytes of one user's input that wait here */
#define MAX_FORMATTED       1200         /* bytes of a text that is put together here */
#define MAX_ADDRESS         80           /* bytes of an address and a port in figures */
#define MAX_PIECES          64           /* pieces of memory handed to the kernel in one call */
#define ROUND_SIZE          (256 * 1024) /* bytes said in a round, before they are sent */
#define CONSOLE_BATCH       4096         /* bytes of the operator's taken up in one round */
#define EVENT_BATCH         256          /* events taken from the kernel in one round */
#define ACCEPT_BATCH        64           /* connections accepted in one round */
#define BACKLOG             4096         /* connections that may wait to be accepted */

#define MILLISECOND     INT64_C(1000000) /* all times are in nanoseconds */
#define SECOND          INT64_C(1000000000)
#define NEVER           INT64_MAX          /* a time that does not come */
#define LINGER_TIME     SECOND             /* for a connection that the server ends */
#define DRAIN_TIME      (10 * SECOND)      /* for one whose client has ended its side */
#define FINISH_TIME     (SECOND / 2)       /* for what was read before a signal */
#define LAST_WORDS_TIME (SECOND / 4)       /* for the lines of the log and standard output */
#define ACCEPT_PAUSE    (SECOND / 10)      /* without accepting, out of descriptors */
#define SWEEP_TICK      (10 * MILLISECOND) /* between two looks at all deadlines */

#define PROMPT          "Enter your screen name: "
#define PASSWORD_PROMPT "Password: "

/* What the units next door need, too. */

static _Noreturn void __attribute__((format(printf, 2, 3))) die(int status, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(status);
}

/* What was allocated; to go on without would be harder to notice than an end. */
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

/* The order of users, and of accounts, whose names come first in them. Names are ASCII, so that
 * this is the order of their lower-cased bytes. */
static int compare_names(const void *a, const void *b)
{
    return strcasecmp(a, b);
}

/* A line that is put together; it lasts until the next one is. */
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
#else /* what the server asks of them, where there are none */
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

/* What has come from a peer and is not acted on yet; without memory where there is nothing. */
struct inbox {
    char *bytes;
    uint32_t length; /* bytes there */
    uint32_t done;   /* how many of them, the first ones, were acted on */
    bool too_long;   /* inside a line that is too long: its bytes are thrown away up to its end */
};

/* One line as it came. */
struct line {
    char *text;    /* its bytes, then a NUL in place of the line end */
    size_t length; /* over MAX_LINE where it is too long; text may not be all of it then */
};

/* A connection's life, in this order; steps may be left out. */
enum phase {
    NAMING,    /* is asked for a name */
    PASSWORD,  /* has given a registered one, and is asked for its password */
    CHATTING,  /* in the room */
    LEAVING,   /* out of the room; its queue goes out, what comes is thrown away */
    LINGERING, /* all is sent and our side has ended; waits for the end of the other side */
    GONE,      /* is reaped at the end of this round */
};

/* Whether a user's next line is taken up now, and if not, why. */
enum gate {
    OPEN,      /* it is */
    FULL,      /* too much waits to be sent to it (LIMIT-6) */
    THROTTLED, /* it has said too much (LIMIT-5) */
    BUSY,      /* accounts are at work for its last line (ACCT-10, ACCT-12) */
    CLOSED,    /* it is leaving */
};

union address {
    struct sockaddr any;
    struct sockaddr_in6 largest;
};

/* One connection, from accept to close. */
struct user {
    char name[MAX_NAME + 1]; /* as typed; the one that it asks for, while asked for a password */
    enum phase phase : 8;
    bool eof;               /* its side has ended, and all that it sent was read */
    bool blocked;           /* the kernel takes no more; EPOLLOUT will tell */
    bool touched;           /* is on the list of those to look at when the round ends */
    unsigned char refusals; /* names refused so far */
    unsigned char wrong;    /* wrong passwords so far */
    int fd;
    uint32_t watched;       /* the epoll events asked for at present */
    union address address;  /* where it comes from */
    int64_t deadline;       /* when its time is up, as now_ns counts; or NEVER */
    int64_t left;           /* of its time for joining, while a password is checked (JOIN-8) */
    int64_t due;            /* when its next line may be taken up (LIMIT-5) */
    uint64_t reply;         /* bytes that its last /who brought it, while they wait */
    struct inbox inbox;     /* what came from it */
    struct cursor cursor;   /* what is to be sent to it */
    struct account *proven; /* a copy of the account that it has proven (ACCT-5), or NULL */
    struct job *job;        /* what accounts do for its last line, or NULL */
    TAILQ_ENTRY(user) in_users;
    TAILQ_ENTRY(user) in_touched;
};

TAILQ_HEAD(user_list, user);

/* Everything there is. */
struct server {
    struct options options;
    struct sink output;       /* for the operator */
    struct sink log;          /* the log */
    struct stream stream;     /* what the room sees */
    int epoll_fd;             /* what the loop waits on */
    int listener;             /* accepts connections, until the server stops */
    int signals;              /* gives the signals that have come */
    sigset_t stops;           /* those of them that end the server */
    union address address;    /* where it listens */
    struct inbox console;     /* what the operator typed */
    bool console_is_file;     /* epoll refuses a file, which is always ready; false at its end */
    bool stop_asked;          /* by a signal or the operator; the loop does it */
    bool stopping;            /* all have been dismissed */
    bool accept_failed;       /* since the last newcomer; it is logged once */
    int64_t now;              /* the time of this round, as now_ns counts */
    int64_t accept_again;     /* when to accept without being told to; or NEVER */
    int64_t next_sweep;       /* when to look at all deadlines; or NEVER */
    struct user_list users;   /* every connection */
    struct user_list touched; /* those to look at; between rounds, those with lines to take up */
    long clients;             /* connections that count for LIMIT-2 */
    size_t online;            /* users in the room */
    void *names;              /* tsearch tree of those, by name, case aside */
    uint64_t flushed;         /* where the stream ended when all were last sent it */
    size_t round_size;        /* bytes said in this round */
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

/* Where the first whole line ends, or NULL. */
static char *line_end(const struct inbox *inbox)
{
    return kept(inbox) > 0 ? memchr(inbox->bytes + inbox->done, '\n', kept(inbox)) : NULL;
}

/* Reads once, and gives what `read` gives. There is room for one byte more than MAX_HELD, so that
 * an end behind so many is noticed. */
static ssize_t fill(struct inbox *inbox, int fd, size_t most)
{
    if (!inbox->bytes)
        inbox->bytes = checked(malloc(MAX_HELD + 1));
    size_t room = MAX_HELD + 1 - inbox->length;
    ssize_t n = read(fd, inbox->bytes + inbox->length, MIN(room, most));
    inbox->length += n > 0 ? (uint32_t)n : 0;
    return n;
}

/* Moves what is left to the front, and frees the memory where nothing is left. Of a line that can
 * only be too long nothing is kept while it comes (LIMIT-4); the byte more may be the CR of its
 * end. */
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

/* Takes the first whole line; false where there is none yet. */
static bool take_line(struct inbox *inbox, struct line *line)
{
    char *lf = line_end(inbox);
    if (!lf)
        return false;
    line->text = inbox->bytes + inbox->done;
    line->length = (size_t)(lf - line->text);
    if (line->length > 0 && lf[-1] == '\r')
        line->length--;
    line->text[line->length] = '\0';
    if (inbox->too_long)
        line->length = MAX_LINE + 1;
    inbox->too_long = false;
    inbox->done = (uint32_t)(lf + 1 - inbox->bytes);
    return true;
}

/* Decodes the UTF-8 character that a text begins with; gives its length, 0 where it is not one. */
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

static bool is_control(uint32_t code)
{
    return (code < 0x20 && code != '\t') || (code >= 0x7F && code <= 0x9F) ||
           (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

/* What is wrong with a line, as its sender is to read it; or NULL (FRAME-4 to FRAME-6). */
static const char *check_line(const struct line *line)
{
    bool has_control = false;
    size_t i = 0, length;
    uint32_t code;
    if (line->length > MAX_LINE)
        return "! line too long (limit 1024 bytes)\n";
    while (line->text[i] >= ' ' && line->text[i] < 0x7F)
        i++; /* plain ASCII is fast, and mostly that is all */
    for (; i < line->length; i += length) {
        length = decode(line->text + i, line->length - i, &code);
        if (length == 0)
            return "! not valid UTF-8\n";
        has_control = has_control || is_control(code);
    }
    return has_control ? "! control characters are not allowed\n" : NULL;
}

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t")] == '\0';
}

/* Cuts the spaces and tabs off both ends. */
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

/* The user in the room that has this name, case aside; or NULL. */
static struct user *find(const struct server *s, const char *name)
{
    struct user **found = tfind(name, &s->names, compare_names);
    return found ? *found : NULL;
}

/* Has the user looked at when the round ends: what waits for it is sent. */
static void touch(struct server *s, struct user *user)
{
    if (user->touched)
        return;
    user->touched = true;
    TAILQ_INSERT_TAIL(&s->touched, user, in_touched);
}

/* A line to all in the room but its sender (or NULL), and to the operator. */
static void broadcast(struct server *s, const char *line, struct user *sender)
{
    size_t length = strlen(line);
    stream_append(&s->stream, line, length);
    if (sender)
        skip(&s->stream, &sender->cursor, length);
    s->round_size += length;
    if (!s->options.quiet)
        sink_put(&s->output, line, length);
}

/* A text to one user alone; to the operator where user is NULL. */
static void tell(struct server *s, struct user *user, const char *text)
{
    size_t length = strlen(text);
    if (!user) {
        sink_put(&s->output, text, length);
        return;
    }
    insert(&s->stream, &user->cursor, text, length);
    s->round_size += length;
    touch(s, user);
}

/* A line of the log about a connection; about the server where user is NULL. */
static void log_about(struct server *s, const struct user *user, const char *msg, const char *name,
                      const char *reason)
{
    char addr[MAX_ADDRESS];
    if (s->log.fd < 0)
        return;
    show_address(addr, user ? &user->address : &s->address);
    log_event(&s->log, msg, "name", name, "addr", addr, "reason", reason, NULL);
}

static bool name_is_valid(const char *name)
{
    size_t length =
        strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
    return length > 0 && length <= MAX_NAME && name[length] == '\0';
}

static bool is_registered(const struct server *s, const char *name)
{
    return hash_of(&s->accounts, name) != NULL;
}

/* Whether the name is the account that this connection has proven (ACCT-5). */
static bool has_proven(const struct server *s, const struct user *user, const char *name)
{
    const struct account *proven = user->proven;
    const char *hash = hash_of(&s->accounts, name);
    return proven && hash && strcasecmp(proven->name, name) == 0 && strcmp(proven->hash, hash) == 0;
}

/* Why the user cannot have the name, or NULL. The case of one's own may be changed (CMD-4). */
static const char *name_error(const struct server *s, const struct user *user, const char *name)
{
    if (!name_is_valid(name))
        return "! invalid name: use 1 to 32 letters, digits, \"_\" or \"-\"\n";
    const struct user *owner = find(s, name);
    bool is_reserved = strcasecmp(name, "server") == 0 || strcasecmp(name, "password") == 0;
    bool is_recased = owner == user && strcmp(name, user->name) != 0;
    if (is_reserved || (owner && !is_recased))
        return formatted("! name in use: %s\n", name);
    if (s->options.members_only && !is_registered(s, name))
        return formatted("! name not registered: %s\n", name);
    return NULL;
}

/* The newcomer's place is behind its own join notice, so that it sees the room from then on. */
static void enter(struct server *s, struct user *user)
{
    if (!user->eof)
        user->deadline = NEVER;
    user->phase = CHATTING;
    checked(tsearch(user, &s->names, compare_names));
    s->online++;
    log_about(s, user, "join", user->name, NULL);
    broadcast(s, formatted("%s has joined the chat\n", user->name), NULL);
    attach(&s->stream, &user->cursor);
    tell(s, user,
         formatted("Welcome, %s (%zu online). Type /help for commands.\n", user->name, s->online));
}

/* What waits for the user can still go out, but nothing that is said from now on. */
static void leave(struct server *s, struct user *user, const char *reason)
{
    tdelete(user, &s->names, compare_names);
    s->online--;
    if (s->stopping)
        return; /* STOP-2: no notices */
    detach(&s->stream, &user->cursor);
    log_about(s, user, "leave", user->name, reason);
    broadcast(s, formatted("%s has left the chat\n", user->name), NULL);
}

/* A message to all but its sender (NULL: the operator). Of `//`, the first is removed (CHAT-5). */
static void say(struct server *s, struct user *user, const char *line)
{
    const char *name = user ? user->name : "server";
    const char *text = line[0] == '/' ? line + 1 : line;
    log_event(&s->log, "message", "name", name, "text", text, NULL);
    broadcast(s, formatted("%s: %s\n", name, text), user);
}

/* ---- 5. Commands ---------------------------------------------------------------------------- */

/* An entry of a table of commands; in the operator's, user is always NULL. */
struct command {
    const char *word; /* with its slash, in lower case; NULL ends the table */
    void (*run)(struct server *s, struct user *user, char *rest); /* rest: what follows the word */
    bool of_accounts; /* is known only where there is an accounts file */
};

/* Cuts a line behind its first word, and gives the rest, behind the space. */
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

/* The line of a /who answer that is being filled, and for whom. */
struct who {
    struct server *s;
    struct user *asker;      /* NULL: the operator */
    char line[MAX_LINE + 1]; /* what it holds so far, with a NUL */
    char *names;             /* where the names begin in it */
    char *end;               /* where they end */
};

static void who_name(const void *node, VISIT visit, void *closure)
{
    const struct user *user = *(struct user *const *)node;
    struct who *who = closure;
    if (visit != postorder && visit != leaf)
        return; /* twalk comes by an inner node three times; once is in order */
    if (who->end + strlen(", ") + strlen(user->name) > who->line + MAX_LINE) {
        tell(who->s, who->asker, formatted("%s\n", who->line));
        who->end = who->names;
    }
    if (who->end > who->names)
        who->end = stpcpy(who->end, ", ");
    who->end = stpcpy(who->end, user->name);
}

/* All in the room, on as many lines as that takes (CMD-2). */
static void who_lines(struct server *s, struct user *asker)
{
    struct who who = {.s = s, .asker = asker};
    who.names = who.end = who.line + sprintf(who.line, "Online (%zu): ", s->online);
    twalk_r(s->names, who_name, &who);
    tell(s, asker, formatted("%s\n", who.line));
}

/* The answer may be longer than LIMIT-1 allows, but does not drop the asker (LIMIT-6). */
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
        log_event(&s->log, "private", "name", user->name, "to", target->name, NULL);
        tell(s, target, formatted("(private) %s: %s\n", user->name, text));
    }
}

static void cmd_nick(struct server *s, struct user *user, char *rest)
{
    char old[MAX_NAME + 1];
    char *name = trim(rest);
    const char *error = name_error(s, user, name);
    if (!error && is_registered(s, name) && !has_proven(s, user, name))
        error = formatted("! name registered: %s\n", name);
    if (error) {
        tell(s, user, error);
        return;
    }
    strcpy(old, user->name);
    tdelete(user, &s->names, compare_names);
    strcpy(user->name, name);
    checked(tsearch(user, &s->names, compare_names));
    log_event(&s->log, "rename", "name", old, "to", name, NULL);
    broadcast(s, formatted("%s is now known as %s\n", old, name), NULL);
}

static void cmd_quit(struct server *s, struct user *user, char *rest)
{
    (void)rest;
    tell(s, user, formatted("Goodbye, %s\n", user->name));
    dismiss(s, user, "quit");
}

/* What is logged of a change of an account, and what its user is told. */
static const struct {
    const char *reason, *done, *refused;
} changes[] = {
    [REGISTER] = {"register", "Registered %s\n", "! already registered: %s\n"},
    [PASSWD] = {"passwd", "Password changed\n", "! not registered: %s\n"},
    [UNREGISTER] = {"unregister", "Unregistered %s\n", "! not registered: %s\n"},
};

/* Has the account of the user's name changed; the answer comes when that is done. */
static void change_account(struct server *s, struct user *user, enum task task, char *password)
{
    const char *name = user->name;
    size_t length = strlen(password);
    bool is_possible = task == REGISTER ? !is_registered(s, name) : has_proven(s, user, name);
    if (!is_possible)
        tell(s, user, formatted(changes[task].refused, name));
    else if (task != UNREGISTER && (length < MIN_PASSWORD || length > MAX_PASSWORD))
        tell(s, user, formatted("! password must be %d to %d bytes\n", MIN_PASSWORD, MAX_PASSWORD));
    else if (!(user->job = add_job(&s->accounts, user, task, name, password)))
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
    change_account(s, user, UNREGISTER, rest + strlen(rest)); /* there is no password */
}

/* The connection has proven this account, and no other any more. */
static void prove(struct user *user, const struct account *account)
{
    if (!user->proven)
        user->proven = allocate(sizeof *user->proven);
    *user->proven = *account;
}

/* Tells a user what came of its change. The name is still the user's, whose lines have waited. */
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

/* Whether the user's next line is taken up now, and if not, why. */
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

/* Says what was wrong, and asks again while there are tries left. */
static void ask_again(struct server *s, struct user *user, const char *reason, const char *error,
                      const char *prompt, bool may_try)
{
    log_about(s, user, "refuse", NULL, reason);
    tell(s, user, error);
    tell(s, user, may_try ? prompt : "! too many attempts\n");
    if (!may_try)
        dismiss(s, user, NULL);
}

/* Asks for another name, up to the fifth refusal (JOIN-7). */
static void refuse_name(struct server *s, struct user *user, const char *reason, const char *error)
{
    ask_again(s, user, reason, error, PROMPT, ++user->refusals < MAX_REFUSALS);
}

static void handle_name(struct server *s, struct user *user, char *line, const char *bad_line)
{
    char *name = trim(line);
    const char *error = bad_line ? bad_line : name_error(s, user, name);
    if (error) {
        refuse_name(s, user, bad_line ? "line" : "name", error);
        return;
    }
    strcpy(user->name, name);
    if (is_registered(s, name)) {
        user->phase = PASSWORD;
        tell(s, user, PASSWORD_PROMPT);
    } else {
        enter(s, user);
    }
}

/* Asks for another password, up to the third refusal (ACCT-2). */
static void refuse_password(struct server *s, struct user *user, const char *bad_line)
{
    ask_again(s, user, bad_line ? "line" : "password", bad_line ? bad_line : "! wrong password\n",
              PASSWORD_PROMPT, ++user->wrong < MAX_WRONG_PASSWORDS);
}

/* The line is the password as it stands. Meanwhile the time for joining stops (JOIN-8). */
static void handle_password(struct server *s, struct user *user, char *line, const char *bad_line)
{
    if (bad_line || strlen(line) > MAX_PASSWORD) {
        refuse_password(s, user, bad_line);
        return;
    }
    user->job = add_job(&s->accounts, user, CHECK, user->name, line);
    if (!user->eof) {
        user->left = user->deadline - s->now;
        user->deadline = NEVER;
    }
}

/* A name that has come into use meanwhile is a refused one (ACCT-4). */
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

/* A command of the user's table, or the operator's, for whom user is NULL. */
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

/* A message or a command of a user, or of the operator. */
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

/* Counts a line against --rate: as many as it has lines a second may come at once (LIMIT-5). */
static void count_line(const struct server *s, struct user *user)
{
    if (s->options.rate == 0 || user->phase != CHATTING)
        return;
    int64_t share = SECOND / s->options.rate;
    int64_t earliest = s->now - SECOND + share;
    user->due = MAX(user->due, earliest) + share;
}

/* Whether so much was said in this round that all must first be sent it: one who reads well could
 * be dropped otherwise, without having been given a chance to. */
static bool round_is_full(const struct server *s)
{
    return s->round_size > MIN(ROUND_SIZE, (size_t)s->options.max_queue / 2);
}

/* Acts on the user's whole lines, while it and this round can bear what comes of them. */
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

/* A change is made, or not, even if the one who asked for it is gone. */
static void log_change(struct server *s, const struct job *job)
{
    const char *reason = changes[job->task].reason;
    if (job->outcome == FAILED)
        log_error(&s->log, formatted("accounts %s: %s", s->options.accounts, job->reason));
    else if (job->outcome == DONE && reason)
        log_event(&s->log, "account", "name", job->account.name, "reason", reason, NULL);
}

/* What the threads are done with. */
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

static void console_line(struct server *s, const struct line *line)
{
    handle_chat(s, NULL, op_commands, line->text, check_line(line));
}

/* The server goes on without standard input. */
static void close_console(struct server *s)
{
    epoll_ctl(s->epoll_fd, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
    s->console_is_file = false;
    empty(&s->console); /* a last line without its end is none (FRAME-8) */
}

/* Any error is the end too: in the background of a terminal it is EIO (OPER-2). */
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

/* Has all deadlines looked at then, but not more often than once in a tick. */
static void sweep_by(struct server *s, int64_t time)
{
    s->next_sweep = MIN(s->next_sweep, MAX(time, s->now + SWEEP_TICK));
}

static void set_deadline(struct server *s, struct user *user, int64_t deadline)
{
    user->deadline = deadline;
    sweep_by(s, deadline);
}

/* Whether a line can be taken up now; sees to it when its time is still to come. */
static bool has_turn(struct server *s, struct user *user)
{
    enum gate state = line_end(&user->inbox) ? gate(s, user) : CLOSED;
    if (state == THROTTLED)
        sweep_by(s, user->due);
    return state == OPEN;
}

/* Asks epoll for the events that matter now; most of the time they are the same as before. */
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

/* Takes a user out of the room, for a reason that LOG-2 knows, or from the prompt, without one;
 * what it says does not count any more. */
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

/* Ends a connection kindly: its queue goes out first (LEAVE-4). */
static void dismiss(struct server *s, struct user *user, const char *reason)
{
    retire(s, user, reason);
    set_deadline(s, user, s->now + LINGER_TIME);
}

/* Ends a connection now, whatever waits. */
static void drop(struct server *s, struct user *user, const char *reason)
{
    if (user->phase < LINGERING)
        s->clients--;
    clear(&user->cursor);
    retire(s, user, reason);
    user->phase = GONE;
    user->deadline = NEVER;
}

/* The client has ended its side: ten seconds remain for what it said, and its queue (LEAVE-2). */
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

/* Ends our side of a connection, now that its queue is out. */
static void end_sending(struct server *s, struct user *user)
{
    shutdown(user->fd, SHUT_WR);
    user->phase = LINGERING;
    s->clients--;
    if (user->eof)
        drop(s, user, NULL);
}

/* Receives once. What comes from one who is leaving is thrown away. */
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

/* What a socket is ready for. After a reset, lines that wait are not taken up (LIMIT-5). */
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

/* One system call for as many lines as there are. */
static void send_waiting(struct server *s, struct user *user)
{
    struct iovec pieces[MAX_PIECES];
    struct msghdr message = {.msg_iov = pieces};
    struct cursor ahead = user->cursor;
    while (message.msg_iovlen < MAX_PIECES &&
           next_piece(&s->stream, &ahead, SIZE_MAX, &pieces[message.msg_iovlen]))
        message.msg_iovlen++;
    ssize_t sent = message.msg_iovlen > 0 ? sendmsg(user->fd, &message, MSG_NOSIGNAL) : 0;
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        drop(s, user, "reset");
        return;
    }
    advance(&s->stream, &user->cursor, sent > 0 ? (size_t)sent : 0);
    user->blocked = waiting(&s->stream, &user->cursor) > 0;
}

/* Whether too much waits for the user, besides the answer to its last /who (LIMIT-1). */
static bool is_over(const struct server *s, const struct user *user)
{
    uint64_t most = (uint64_t)s->options.max_queue + user->reply;
    return user->phase == CHATTING && waiting(&s->stream, &user->cursor) > most;
}

/* Sends what waits for the user, and sees how it stands then. Before one is dropped, the kernel is
 * offered all once more. */
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

/* Frees one who is gone: nothing points to it any more when a round ends. */
static void reap(struct server *s, struct user *user)
{
    TAILQ_REMOVE(&s->users, user, in_users);
    close(user->fd);
    free(user->proven);
    free(user);
}

/* Has the loop wait for what happens to a source; false where it cannot. */
static bool watch_source(struct server *s, int fd, uint32_t events, void *source)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* Asks a newcomer for its name, if there is room (LIMIT-2). */
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
        receive(s, user); /* a name that came with the connection needs no answer of its own */
    }
}

/* The listener tells only of new connections, so that all are accepted, now or in the next round.
 * Errors other than these are about one connection that came to nothing. */
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

/* What ends a pending prompt's line before something else is said. */
static const char *prompt_end(const struct user *user)
{
    return user->phase < CHATTING && !user->job ? "\n" : "";
}

/* The user's time is up. */
static void expire(struct server *s, struct user *user)
{
    if (user->phase > CHATTING) {
        drop(s, user, NULL);
    } else if (user->eof) { /* it said more than could be taken up by now */
        dismiss(s, user, "eof");
    } else {
        log_about(s, user, "refuse", NULL, "timeout");
        tell(s, user, formatted("%s! timed out\n", prompt_end(user)));
        dismiss(s, user, NULL);
    }
}

/* Sees to all whose time is up, where that may be so, and finds out when the next one's is. */
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

/* Milliseconds until something is due; -1: nothing is. */
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

/* Takes up lines that waited, the oldest first. One whose lines wait again is last next time. */
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

/* Has the room's new text sent to all in it, with one system call for each. */
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

/* Sends to all what waits for them, and frees those who are gone. To drop a slow user is news to
 * the room, hence the loop. Those with lines to take up stay on the list for the next round. */
static void flush_all(struct server *s)
{
    struct user *user;
    struct user_list turns = TAILQ_HEAD_INITIALIZER(turns);
    s->round_size = 0;
    for (send_news(s); (user = TAILQ_FIRST(&s->touched)); send_news(s)) {
        TAILQ_REMOVE(&s->touched, user, in_touched);
        user->touched = false;
        if (user->phase == GONE) {
            reap(s, user);
            continue;
        }
        flush(s, user); /* one that is dropped here is touched again */
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

/* Of the signals that end the server, a second one finds the default action (STOP-5). */
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
        ((struct sink *)source)->blocked = false; /* what waits is written when the round ends */
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

/* Serves until the server has stopped and all are gone. */
static void run(struct server *s)
{
    while (!s->stopping || !TAILQ_EMPTY(&s->users))
        one_round(s);
}

/* ---- 10. Start and stop --------------------------------------------------------------------- */

/* An address in figures (PROG-3). One of IPv4 that IPv6 has mapped is written as IPv4. */
static void show_address(char text[MAX_ADDRESS], const union address *address)
{
    char host[NI_MAXHOST] = "", port[NI_MAXSERV] = "";
    getnameinfo(&address->any, sizeof *address, host, sizeof host, port, sizeof port,
                NI_NUMERICHOST | NI_NUMERICSERV);
    bool is_mapped = strncmp(host, "::ffff:", 7) == 0 && strchr(host, '.');
    const char *figures = is_mapped ? host + 7 : host;
    snprintf(text, MAX_ADDRESS, strchr(figures, ':') ? "[%s]:%s" : "%s:%s", figures, port);
}

/* What was read before the signal comes before the notice (STOP-2), for a moment. */
static void finish_turns(struct server *s)
{
    int64_t until = now_ns() + FINISH_TIME;
    flush_all(s);
    while (!TAILQ_EMPTY(&s->touched) && now_ns() < until) {
        take_turns(s);
        flush_all(s);
    }
}

/* STOP-1: the last line to all, and then the ending of LEAVE-4. */
static void stop(struct server *s)
{
    struct user *user;
    close_console(s);
    close(s->listener);
    s->accept_again = NEVER;
    finish_turns(s);
    s->now = now_ns();
    s->stopping = true;
    log_about(s, NULL, "shutdown", NULL, NULL);
    broadcast(s, "Server is shutting down\n", NULL);
    TAILQ_FOREACH (user, &s->users, in_users) {
        if (user->phase < CHATTING)
            tell(s, user, formatted("%sServer is shutting down\n", prompt_end(user)));
        if (user->phase <= CHATTING)
            dismiss(s, user, NULL);
        else if (user->phase < GONE)
            set_deadline(s, user, s->now + LINGER_TIME);
    }
}

/* Opens what was left closed of descriptors 0 to 2: a connection could become one of them. */
static void open_standard_files(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0)
            open("/dev/null", O_RDWR);
}

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* On Linux an accepted socket has the options of its listener, so they are set here once. A peer
 * that vanished, or takes nothing, is noticed within two minutes (LEAVE-5). */
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

/* Listens on the first IPv4 address of the host, else on its first. */
static int listen_on(const char *host, long number)
{
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *address;
    char port[16];
    snprintf(port, sizeof port, "%ld", number);
    int error = getaddrinfo(host, port, &hints, &address);
    hints.ai_family = AF_UNSPEC;
    if (error)
        error = getaddrinfo(host, port, &hints, &address);
    int fd = error ? -1 : socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        configure(fd);
    if (fd < 0 || bind(fd, address->ai_addr, address->ai_addrlen) < 0 || listen(fd, BACKLOG) < 0)
        die(EXIT_FAILURE,
            strchr(host, ':') ? "cannot listen on [%s]:%s: %s" : "cannot listen on %s:%s: %s", host,
            port, error && error != EAI_SYSTEM ? gai_strerror(error) : strerror(errno));
    freeaddrinfo(address);
    return fd;
}

static bool is_ignored(int number)
{
    struct sigaction action;
    return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

/* Has the loop read signals as it reads all else, which they interrupt nowhere then. Those that
 * were ignored when the program was started stay so, those that were blocked do not (PROG-10). */
static void catch_signals(struct server *s)
{
    bool has_files = s->options.log || s->options.accounts;
    sigset_t caught;
    signal(SIGPIPE, SIG_IGN); /* a write to what is closed is an error, not the end */
    signal(SIGXFSZ, SIG_IGN); /* and so is one to a file that may grow no more (LOG-4) */
    signal(SIGTTIN, SIG_IGN); /* in the background, reading the terminal fails instead (OPER-2) */
    signal(SIGTTOU, SIG_IGN); /* and writing there goes on */
    signal(SIGTERM, SIG_DFL);
    sigemptyset(&caught);
    sigaddset(&caught, SIGTERM);
    if (!is_ignored(SIGINT))
        sigaddset(&caught, SIGINT);
    if (has_files || !is_ignored(SIGHUP)) /* one that is blocked comes though it is ignored */
        sigaddset(&caught, SIGHUP);
    s->stops = caught;
    if (has_files)
        sigdelset(&s->stops, SIGHUP); /* it reads or opens them anew (LOG-7, FILE-4; else STOP-6) */
    sigprocmask(SIG_SETMASK, &caught, NULL);
    s->signals = signalfd(-1, &caught, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void watch_sources(struct server *s)
{
    bool good = watch_source(s, s->listener, EPOLLIN | EPOLLET, &s->listener) &&
                watch_source(s, s->signals, EPOLLIN, &s->signals) &&
                (!s->options.accounts ||
                 (watch_source(s, s->accounts.checks.ours, EPOLLIN, &s->accounts) &&
                  watch_source(s, s->accounts.changes.ours, EPOLLIN, &s->accounts)));
    if (!good)
        die(EXIT_FAILURE, "chat-server: epoll: %s", strerror(errno));
    /* /dev/null too is such a file; what cannot be read is closed when that shows */
    s->console_is_file = !watch_source(s, STDIN_FILENO, EPOLLIN, &s->console);
}

/* Opens all that the server needs, or ends the program. */
static void start(struct server *s)
{
    char address[MAX_ADDRESS];
    socklen_t length = sizeof s->address;
    TAILQ_INIT(&s->users);
    TAILQ_INIT(&s->touched);
    s->accept_again = s->next_sweep = NEVER;
    add_block(&s->stream);
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    catch_signals(s); /* before there are threads, which then leave all signals to the loop */
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
    static struct server s; /* all zeros, which take no room in the program's file */
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
