/*
 * stream.h: the text for the room: one stream, and a cursor in it for each user.
 *
 * A line is stored once, however many users receive it. A user's queue is not stored: it is the
 * stream from the user's position to the end, changed by splices. A splice inserts a text for this
 * user alone, or skips bytes that it is not sent (its own messages). No line is copied.
 *
 * Exports: the stream (stream_append, stream_trim), the cursor (attach, insert, skip, next_piece,
 * advance, waiting, detach, clear). Requires: allocate.
 */
#include <sys/uio.h>

#define BLOCK_SIZE   (64 * 1024) /* bytes of a block */
#define SPLICE_LEAST 64          /* bytes of text for which a splice has space, at least */
#define SPLICE_MOST  4096        /* ... and at most, unless one text is longer */
#define MALLOC_COST  16          /* bytes that the allocator adds to each allocation */

/* A part of the stream. The oldest blocks, which all have read, are freed. */
struct block {
    struct block *next;
    uint64_t start; /* offset in the stream of its first byte */
    size_t users;   /* cursors in this block */
    char bytes[BLOCK_SIZE];
};

/* All lines of the room. Only blocks that some cursor still reads are in memory. */
struct stream {
    struct block *head;
    struct block *tail; /* never NULL */
    uint64_t end;       /* offset of its end */
};

/* At the offset `at` of the stream, insert `text`, then skip the next `skip` bytes. */
struct splice {
    struct splice *next;
    uint64_t at;
    uint64_t skip;
    size_t length;   /* bytes of text */
    size_t capacity; /* bytes of text for which there is space */
    char text[];
};

/* One user's position in the stream, and its splices. Outside the room it has only texts. */
struct cursor {
    struct block *block;   /* the block that it reads; NULL outside the room */
    uint64_t sent;         /* offset in the stream of the next byte to send */
    struct splice *splice; /* the next one, or NULL */
    struct splice *last;
    size_t text_sent; /* bytes of the next splice's text that were sent */
    uint64_t private; /* bytes of memory of the splices */
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

/* Appends a line, which may continue in a new block. */
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

/* Frees the oldest blocks that no cursor is in. */
static void stream_trim(struct stream *stream)
{
    while (stream->head != stream->tail && stream->head->users == 0) {
        struct block *block = stream->head;
        stream->head = block->next;
        free(block);
    }
}

/* The offset in the stream where the user's queue ends. */
static uint64_t view_end(const struct stream *stream, const struct cursor *cursor)
{
    return cursor->block ? stream->end : cursor->sent;
}

/* Counts the bytes of memory kept for the user, with its own messages and the overhead. */
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

/* Appends a text for this user alone to its queue. Where the last splice is full, the next one has
 * twice its space: so many texts need few splices, and a single text needs little space. */
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

/* Skips the last `length` bytes of the stream. */
static void skip(const struct stream *stream, struct cursor *cursor, size_t length)
{
    struct splice *last = cursor->last;
    uint64_t at = stream->end - length;
    if (!last || last->at + last->skip != at)
        last = add_splice(cursor, at, 0);
    last->skip += length;
}

/* Moves past everything that needs no sending: finished splices with the bytes that they skip, and
 * the end of a block. A splice from before `attach` has the offset 0, and is therefore due. */
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

/* Moves past the next piece to send, of `limit` bytes at the most; false where nothing is left. */
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

/* Frees the splices from `done` up to the cursor's next one. */
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

/* Moves past `sent` bytes that were sent. */
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

/* Reads the stream from its end on; texts that are queued already come first. */
static void attach(const struct stream *stream, struct cursor *cursor)
{
    cursor->sent = stream->end;
    cursor->block = stream->tail;
    cursor->block->users++;
}

/* Discards the queue and the position in the stream. */
static void clear(struct cursor *cursor)
{
    struct splice *first = cursor->splice;
    cursor->splice = NULL;
    free_splices(cursor, first);
    if (cursor->block)
        cursor->block->users--;
    *cursor = (struct cursor){0};
}

/* Leaves the stream with a copy of the queue, so that it keeps no later block in memory. */
static void detach(const struct stream *stream, struct cursor *cursor)
{
    struct cursor copy = {0}, ahead = *cursor;
    struct iovec piece;
    while (next_piece(stream, &ahead, SIZE_MAX, &piece))
        insert(stream, &copy, piece.iov_base, piece.iov_len);
    clear(cursor);
    *cursor = copy;
}
