/*
 * The accounts file: a malformed one is refused with a reason. A change of a valid one makes a
 * valid one, with the change and all other accounts.
 *
 * Input: the change, the account, then the file. 0x01 stands for a valid hash.
 */
#include "fuzz.h"

#define ACCOUNTS
#include "../../../servers/c/server.c"

#include <sys/mman.h>

#define MOST_TEXT (64 * 1024)
#define HASH      "$2y$10$abcdefghijklmnopqrstuv0123456789ABCDEFGHIJKLMNOPQRSTU"
#define OTHER     "$2a$04$abcdefghijklmnopqrstuv0123456789ABCDEFGHIJKLMNOPQRSTU"

static char text[MOST_TEXT];
static int entries, found;

/* Finds each account by its name; counts all but the changed one. */
static void count(const void *node, VISIT visit, void *changed)
{
    const struct account *account = *(struct account *const *)node;
    if (visit != postorder && visit != leaf)
        return;
    HOLDS(name_is_valid(account->name) && strlen(account->hash) == HASH_SIZE);
    if (strcasecmp(account->name, changed) == 0)
        found++;
    else
        entries++;
}

static size_t unfold(struct input *input)
{
    size_t length = 0;
    while (input->left > 0 && length < MOST_TEXT - HASH_SIZE) {
        unsigned byte = take_byte(input);
        size_t n = byte == 1 ? HASH_SIZE : 1;
        memcpy(text + length, byte == 1 ? HASH : (char[]){(char)byte}, n);
        length += n;
    }
    return length;
}

static bool read_all(FILE *file, void **hashes, struct job *job)
{
    *job->reason = '\0';
    bool good = parse_accounts(file, hashes, job->reason);
    HOLDS(good == (*job->reason == '\0'));
    entries = found = 0;
    twalk_r(*hashes, count, job->account.name);
    tdestroy(*hashes, free);
    return good;
}

/* Changes a valid file, if the account is as the change expects it. */
static void change(FILE *file, struct job *job)
{
    static FILE *changed;
    void *hashes = NULL;
    int before = entries;
    if (found != (job->task != REGISTER))
        return;
    if (!changed)
        changed = fdopen(memfd_create("changed", 0), "w+");
    HOLDS(changed && ftruncate(fileno(changed), 0) == 0);
    rewind(changed);
    HOLDS(write_changed(file, changed, job));
    rewind(changed);
    HOLDS(read_all(changed, &hashes, job));
    HOLDS(entries == before && found == (job->task != UNREGISTER));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"alice", "BOB", "c", "-_"};
    struct input input = {data, size};
    struct job job = {.task = REGISTER + take_byte(&input) % 3, .account.hash = OTHER};
    void *hashes = NULL;
    strcpy(job.account.name, names[take_byte(&input) % 4]);
    size_t length = unfold(&input);
    FILE *file = fmemopen(text, length, "r");
    if (file && read_all(file, &hashes, &job))
        change(file, &job);
    if (file)
        fclose(file);
    return 0;
}
