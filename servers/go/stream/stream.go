// Package stream has the text for the room: one stream, and a cursor in it for each user.
//
// A line is stored once, however many users receive it. A user's queue is not stored: it is the
// stream from the user's position to the end, changed by splices. A splice inserts a text for this
// user alone, or skips bytes that it is not sent (its own messages). No line is copied.
//
// It exports Stream (Append) and Cursor (Attach, Insert, Skip, Pieces, Advance, Waiting, Detach).
package stream

import "bytes"

const (
	blockSize  = 64 * 1024 // bytes of a block of the stream
	joinedText = 4096      // bytes of consecutive private texts that are joined into one splice
	spliceCost = 48        // bytes of memory of a splice in addition to its text
	all        = 1 << 40   // bytes; more than any queue has
)

// A block is a part of the stream. It links only forward, so blocks that all have read are freed.
type block struct {
	start int64 // offset in the stream of its first byte
	data  [blockSize]byte
	next  *block
}

// A Stream is all lines of the room. Only blocks that some cursor still reads are in memory.
type Stream struct {
	tail *block
	end  int64 // offset of its end
}

// New makes an empty stream.
func New() *Stream {
	return &Stream{tail: &block{}}
}

// Append appends a line, which may continue in a new block.
func (s *Stream) Append(line string) {
	for len(line) > 0 {
		at := s.end - s.tail.start
		if at == blockSize {
			s.tail.next = &block{start: s.end}
			s.tail = s.tail.next
			at = 0
		}
		n := copy(s.tail.data[at:], line)
		s.end += int64(n)
		line = line[n:]
	}
}

// A splice says: at the offset `at` of the stream, insert `text`, then skip the next `skip` bytes.
type splice struct {
	at   int64
	text []byte
	skip int64
	next *splice
}

// A Cursor is a user's position in the stream, and its splices. Outside the room: only texts.
type Cursor struct {
	Stream  *Stream
	block   *block  // the block that it reads; nil outside the room
	at      int64   // offset in the stream of the next byte to send
	first   *splice // nil where there are no splices
	last    *splice // valid only where there are splices
	taken   int     // bytes of the first splice's text that were sent
	private int     // bytes of memory of the splices
}

// Waiting counts the bytes of memory kept for the user, with its own messages and the overhead.
func (c *Cursor) Waiting() int {
	return int(c.end()-c.at) + c.private
}

// end is the offset in the stream where the user's queue ends.
func (c *Cursor) end() int64 {
	if c.block == nil {
		return c.at
	}
	return c.Stream.end
}

// IsLevelWith tells whether the queues of two cursors in the room are the same, without splices.
func (c *Cursor) IsLevelWith(other *Cursor) bool {
	return c.at == other.at && c.first == nil && c.block != nil
}

// Attach reads the stream from its end on; texts that are queued already come first.
func (c *Cursor) Attach() {
	c.block, c.at = c.Stream.tail, c.Stream.end
	for s := c.first; s != nil; s = s.next {
		s.at = c.at
	}
}

// Insert appends a text for this user alone to its queue.
func (c *Cursor) Insert(text string) {
	last := c.last
	if c.first == nil || last.at != c.end() || len(last.text)+len(text) > joinedText {
		last = c.add(c.end())
	}
	c.private -= cap(last.text)
	last.text = append(last.text, text...) // its capacity is the memory that it uses
	c.private += cap(last.text)
}

// Skip skips the last `length` bytes of the stream.
func (c *Cursor) Skip(length int) {
	last, at := c.last, c.Stream.end-int64(length)
	if c.first == nil || last.at+last.skip != at {
		last = c.add(at)
	}
	last.skip += int64(length)
}

// add appends an empty splice.
func (c *Cursor) add(at int64) *splice {
	s := &splice{at: at}
	if c.first == nil {
		c.first = s
	} else {
		c.last.next = s
	}
	c.last = s
	c.private += spliceCost
	return s
}

// nextPiece moves past the next piece, of `most` bytes at the most, and returns it. It is empty
// where `most` is 0 or nothing is left; then the cursor only moves past bytes to skip.
func (c *Cursor) nextPiece(most int) []byte {
	for c.first != nil && c.first.at == c.at {
		if left := c.first.text[c.taken:]; len(left) > 0 {
			piece := left[:min(most, len(left))]
			c.taken += len(piece)
			return piece
		}
		c.at += c.first.skip
		c.taken = 0
		c.private -= spliceCost + cap(c.first.text)
		c.first = c.first.next
	}
	end := min(c.end(), c.at+int64(most))
	if c.first != nil {
		end = min(end, c.first.at)
	}
	return c.stretch(end)
}

// stretch moves to `end`, or to the end of the block, and returns the bytes in between.
func (c *Cursor) stretch(end int64) []byte {
	if c.block == nil {
		return nil
	}
	for c.block.next != nil && c.block.next.start <= c.at {
		c.block = c.block.next
	}
	from := c.at - c.block.start
	c.at = min(end, c.block.start+blockSize)
	return c.block.data[from : c.at-c.block.start]
}

// Pieces returns the next pieces to send, `most` at the most. It moves a copy of the cursor.
func (c *Cursor) Pieces(most int) (pieces [][]byte) {
	ahead := *c
	for piece := ahead.nextPiece(all); len(piece) > 0 && len(pieces) < most; {
		pieces = append(pieces, piece)
		piece = ahead.nextPiece(all)
	}
	return pieces
}

// Advance moves past `count` bytes that were sent, and past the bytes to skip there.
func (c *Cursor) Advance(count int) {
	for piece := c.nextPiece(count); len(piece) > 0; piece = c.nextPiece(count) {
		count -= len(piece)
	}
}

// Detach leaves the stream with a copy of the queue, so that it keeps no later block in memory.
func (c *Cursor) Detach() {
	text := bytes.Join(c.Pieces(all), nil)
	c.Clear()
	if len(text) > 0 {
		c.add(0).text = text
		c.private += cap(text)
	}
}

// Clear discards the queue and the position in the stream.
func (c *Cursor) Clear() {
	*c = Cursor{Stream: c.Stream}
}
