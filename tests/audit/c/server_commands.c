/*
 * Lines of users and of the operator: all output is prompts and lines of valid text, and the room
 * stays consistent.
 *
 * Input: settings, then steps, each with a speaker, a number of bytes, and the bytes. Passwords are
 * not hashed: the next byte of the input is the result of a job.
 */
#include "fuzz.h"

#define ACCOUNTS
#include "../../../servers/c/server.c"

#define USERS 3
#define HASH  "$2y$10$abcdefghijklmnopqrstuv0123456789ABCDEFGHIJKLMNOPQRSTU"

static struct server server;
static struct user *users[USERS];
static int ends[2]; /* a pipe, in place of a connection */

/* Valid text has no control characters except line ends. */
static void check_text(const char *text, size_t length)
{
    uint32_t code;
    for (size_t n; length > 0; text += n, length -= n) {
        n = decode(text, length, &code);
        HOLDS(n > 0 && (code == '\n' || !is_control(code)));
    }
}

/* Takes all bytes that wait for a user, as its socket would. */
static void hear(struct user *user)
{
    static char text[4 * 1024 * 1024];
    struct cursor ahead = user->cursor;
    struct iovec piece;
    size_t length = 0;
    while (next_piece(&server.stream, &ahead, SIZE_MAX, &piece)) {
        memcpy(text + length, piece.iov_base, piece.iov_len);
        length += piece.iov_len;
    }
    check_text(text, length);
    advance(&server.stream, &user->cursor, length);
    HOLDS(waiting(&server.stream, &user->cursor) == 0);
    user->reply = 0;
}

static void check_room(void)
{
    size_t online = 0;
    for (int i = 0; i < USERS; i++) {
        struct user *user = users[i];
        hear(user);
        if (user->phase != CHATTING)
            continue;
        online++;
        HOLDS(name_is_valid(user->name) && find(&server, user->name) == user);
    }
    HOLDS(online == server.online);
    stream_trim(&server.stream);
    HOLDS(server.stream.head == server.stream.tail);
    server.load = 0;
}

static void check_sink(struct sink *sink)
{
    check_text(sink->pending, sink->length);
    HOLDS(sink->length == 0 || sink->pending[sink->length - 1] == '\n');
    sink->length = 0;
}

/* Finishes the jobs instead of the threads, with results from the input. */
static void do_jobs(struct pool *pool, struct input *input)
{
    struct job *job;
    while (!TAILQ_EMPTY(&pool->started) &&
           recv(pool->theirs, &job, sizeof job, MSG_DONTWAIT) == sizeof job) {
        job->outcome = take_byte(input) % 3;
        send(pool->theirs, &job, sizeof job, 0);
        jobs_done(&server);
    }
}

static void speak(struct inbox *inbox, const char *bytes, size_t length)
{
    HOLDS(write(ends[1], bytes, length) == (ssize_t)length);
    fill(inbox, ends[0], SIZE_MAX);
}

static void step(struct input *input)
{
    unsigned who = take_byte(input) % (USERS + 1);
    const char *bytes;
    size_t length = take_bytes(input, take_byte(input), &bytes);
    struct line line;
    server.now += SECOND / 10;
    if (length > 0)
        speak(who < USERS ? &users[who]->inbox : &server.console, bytes, length);
    if (who == USERS)
        while (take_line(&server.console, &line))
            console_line(&server, &line);
    else if (users[who]->phase > CHATTING)
        empty(&users[who]->inbox);
    else if (length == 0 && !users[who]->eof)
        hang_up(&server, users[who]);
    else
        take_up(&server, users[who]);
    pack(who < USERS ? &users[who]->inbox : &server.console);
    do_jobs(&server.accounts.checks, input);
    do_jobs(&server.accounts.changes, input);
    check_room();
}

static void add_user(int i, const char *name)
{
    struct user *user = users[i] = allocate(sizeof *user);
    user->fd = -1;
    TAILQ_INSERT_TAIL(&server.users, user, in_users);
    server.clients++;
    set_deadline(&server, user, server.now + SECOND);
    if (*name)
        handle_name(&server, user, strcpy((char[MAX_NAME + 1]){0}, name), NULL);
}

static void remove_users(struct input *input)
{
    for (int i = 0; i < USERS; i++)
        if (users[i]->phase != GONE)
            drop(&server, users[i], "reset");
    do_jobs(&server.accounts.checks, input);
    do_jobs(&server.accounts.changes, input);
    TAILQ_INIT(&server.touched);
    for (int i = 0; i < USERS; i++)
        reap(&server, users[i]);
    HOLDS(server.clients == 0 && server.online == 0 && !server.names);
    stream_trim(&server.stream);
    empty(&server.console);
}

static void start_once(void)
{
    if (server.stream.tail)
        return;
    TAILQ_INIT(&server.users);
    add_block(&server.stream);
    server.output.fd = server.log.fd = open("/dev/null", O_WRONLY);
    server.epoll_fd = -1;
    start_workers(&server.accounts.checks, 0); /* makes the sockets, but no threads */
    start_workers(&server.accounts.changes, 0);
    server.accounts.checks.idle = server.accounts.changes.idle = 1;
    add_account(&server.accounts.hashes, "dave", HASH);
    HOLDS(pipe(ends) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input input = {data, size};
    unsigned settings = take_byte(&input);
    start_once();
    TAILQ_INIT(&server.touched);
    server.options = (struct options){.max_queue = MAX_QUEUE, .join_timeout = SECOND};
    server.options.accounts = settings & 1 ? "accounts" : NULL;
    server.options.members_only = settings & 2 && settings & 1;
    server.options.rate = settings & 4 ? 3 : 0;
    add_user(0, settings & 2 ? "" : "alice");
    add_user(1, settings & 2 ? "" : "Bob");
    add_user(2, "");
    while (input.left > 0)
        step(&input);
    check_sink(&server.output);
    check_sink(&server.log);
    remove_users(&input);
    server.output.length = server.log.length = 0;
    return 0;
}
