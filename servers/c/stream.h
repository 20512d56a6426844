/*
 * stream.h: what all in the room are sent, kept once for all of them.
 *
 * A line for the room is appended once, to the stream. Each user has a cursor: its place on the
 * stream, and a list of splices, which are the differences between the stream and what this user
 * is sent: a text that is for this user alone, or its own messages, which it is not sent back.
 *
 *     stream_append, stream_trim     the stream: a text for all; to free what all were sent
 *     attach, detach, clear          a cursor takes part; keeps a copy of what waits; keeps nothing
 *     insert, skip                   a text for one user; bytes that it is not sent
 *     next_piece, advance            what is to be sent; that it was sent
 *     waiting                        bytes kept in memory for a user; 0: all was sent
 *
 * Needs `allocate`. It knows no user and no socket.
 */
#include <sys/uio.h>

#define BLOCK_SIZE   (64 * 1024) /* bytes of a block */
#define SPLICE_LEAST 64          /* bytes of text that a splice has room for, at least */
#define SPLICE_MOST  4096        /* ... and at most, unless one text is longer */
#define MALLOC_COST  16          /* bytes that the allocator adds to a piece of memory */

/* A part of the stream. Blocks are appended, and freed from the oldest on. */
struct block {
    struct block *next; /* the block that continues this one, or NULL */
    uint64_t start;     /* offset in the stream of the first byte here */
    size_t users;       /* how many cursors are in this block */
    char bytes[BLOCK_SIZE];
};

struct stream {
    struct block *head; /* the oldest block that a cursor is in */
    struct block *tail; /* the block that is appended to; there is always one */
    uint64_t end;       /* offset behind the last byte */
};

/* One difference from the stream: at `at`, put in `text`, then leave out `skip` bytes. */
struct splice {
    struct splice *next; /* the next one of this user, farther on in the stream */
    uint64_t at;         /* offset in the stream */
    uint64_t skip;       /* bytes to leave out */
    size_t length;       /* bytes of text */
    size_t capacity;     /* bytes of text that there is room for */
    char text[];
};

/* A place in what one user is sent. A copy of it looks ahead without moving the user. */
struct cursor {
    struct block *block;   /* where `sent` lies; NULL for one that is not attached */
    uint64_t sent;         /* offset in the stream of the next byte to send */
    struct splice *splice; /* the next splice, or NULL */
    struct splice *last;   /* the last one */
    size_t text_sent;      /* bytes of the next splice's text that were sent */
    uint64_t private;      /* bytes of memory that the splices take */
};

static void add_block(struct stream *stream)
{
    struct block *block = allocate(sizeof *block);
    block->start = stream->end;
    if (stream->tail)
        stream->tail->next = block;
    else
        stream->head = block;
    stream->tail = block;
}

static void stream_append(struct stream *stream, const char *bytes, size_t length)
{
    while (length > 0) {
        size_t used = (size_t)(stream->end - stream->tail->start);
        size_t n = MIN(length, BLOCK_SIZE - used);
        memcpy(stream->tail->bytes + used, bytes, n);
        stream->end += n;
        bytes += n;
        length -= n;
        if (used + n == BLOCK_SIZE)
            add_block(stream);
    }
}

/* Frees the oldest blocks as long as no cursor is in them. */
static void stream_trim(struct stream *stream)
{
    while (stream->head != stream->tail && stream->head->users == 0) {
        struct block *block = stream->head;
        stream->head = block->next;
        free(block);
    }
}

/* Where on the stream the user's queue ends; one that is not attached gets nothing of it. */
static uint64_t view_end(const struct stream *stream, const struct cursor *cursor)
{
    return cursor->block ? stream->end : cursor->sent;
}

/* The stream is kept for a user with its own messages in it, so that they count, too. */
static uint64_t waiting(const struct stream *stream, const struct cursor *cursor)
{
    return view_end(stream, cursor) - cursor->sent + cursor->private;
}

static struct splice *add_splice(struct cursor *cursor, uint64_t at, size_t capacity)
{
    struct splice *splice = allocate(sizeof *splice + capacity);
    splice->at = at;
    splice->capacity = capacity;
    if (cursor->last)
        cursor->last->next = splice;
    else
        cursor->splice = splice;
    cursor->last = splice;
    cursor->private += sizeof *splice + capacity + MALLOC_COST;
    return splice;
}

/* Appends text for this user alone, behind all that it has to be sent so far. Where the last splice
 * has no room, the next one has twice as much: few splices for many texts, little room for one. */
static void insert(const struct stream *stream, struct cursor *cursor, const char *text,
                   size_t length)
{
    struct splice *last = cursor->last;
    uint64_t at = view_end(stream, cursor);
    bool joins = last && last->at == at && last->skip == 0;
    if (!joins || last->length + length > last->capacity) {
        size_t room = joins ? MIN(2 * last->capacity, SPLICE_MOST) : SPLICE_LEAST;
        last = add_splice(cursor, at, MAX(room, length));
    }
    memcpy(last->text + last->length, text, length);
    last->length += length;
}

/* Leaves out for the user the last bytes that were appended to the stream. */
static void skip(const struct stream *stream, struct cursor *cursor, size_t length)
{
    struct splice *last = cursor->last;
    uint64_t at = stream->end - length;
    if (!last || last->at + last->skip != at)
        last = add_splice(cursor, at, 0);
    last->skip += length;
}

/* Moves past what takes no sending: splices whose text is sent, what they skip, and the end of a
 * block. A splice from before the user was attached lies at 0, so it is due as well. */
static void settle(struct cursor *cursor)
{
    while (cursor->splice && cursor->splice->at <= cursor->sent &&
           cursor->text_sent == cursor->splice->length) {
        cursor->sent += cursor->splice->skip;
        cursor->text_sent = 0;
        cursor->splice = cursor->splice->next;
    }
    while (cursor->block && cursor->block->next && cursor->block->next->start <= cursor->sent)
        cursor->block = cursor->block->next;
}

/* Finds the next piece to send, of at most `limit` bytes, and moves past it; false at the end. */
static bool next_piece(const struct stream *stream, struct cursor *cursor, size_t limit,
                       struct iovec *piece)
{
    uint64_t end = view_end(stream, cursor);
    settle(cursor);
    struct splice *splice = cursor->splice;
    if (splice && splice->at <= cursor->sent) {
        piece->iov_base = splice->text + cursor->text_sent;
        piece->iov_len = MIN(splice->length - cursor->text_sent, limit);
        cursor->text_sent += piece->iov_len;
        return true;
    }
    if (splice)
        end = MIN(end, splice->at);
    if (cursor->sent >= end)
        return false;
    size_t offset = (size_t)(cursor->sent - cursor->block->start);
    piece->iov_base = cursor->block->bytes + offset;
    piece->iov_len = MIN(MIN(BLOCK_SIZE - offset, end - cursor->sent), limit);
    cursor->sent += piece->iov_len;
    return true;
}

/* Frees the splices from `done` up to the one that the cursor has reached. */
static void free_splices(struct cursor *cursor, struct splice *done)
{
    while (done != cursor->splice) {
        struct splice *next = done->next;
        cursor->private -= sizeof *done + done->capacity + MALLOC_COST;
        free(done);
        done = next;
    }
    if (!done)
        cursor->last = NULL;
}

/* Moves the user past `sent` bytes. */
static void advance(const struct stream *stream, struct cursor *cursor, size_t sent)
{
    struct splice *done = cursor->splice;
    struct block *before = cursor->block;
    struct iovec piece;
    while (sent > 0 && next_piece(stream, cursor, sent, &piece))
        sent -= piece.iov_len;
    settle(cursor);
    free_splices(cursor, done);
    if (before) {
        before->users--;
        cursor->block->users++;
    }
}

/* Lets the user read the stream from here on; what waited for it comes first. */
static void attach(const struct stream *stream, struct cursor *cursor)
{
    cursor->sent = stream->end;
    cursor->block = stream->tail;
    cursor->block->users++;
}

/* Throws away all that waits for the user, and its place on the stream. */
static void clear(struct cursor *cursor)
{
    struct splice *first = cursor->splice;
    cursor->splice = NULL;
    free_splices(cursor, first);
    if (cursor->block)
        cursor->block->users--;
    *cursor = (struct cursor){0};
}

/* Gives the user a copy of what waits: its place would keep all that follows in memory. */
static void detach(const struct stream *stream, struct cursor *cursor)
{
    struct cursor copy = {0}, ahead = *cursor;
    struct iovec piece;
    while (next_piece(stream, &ahead, SIZE_MAX, &piece))
        insert(stream, &copy, piece.iov_base, piece.iov_len);
    clear(cursor);
    *cursor = copy;
}
