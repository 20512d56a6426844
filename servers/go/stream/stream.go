// Package stream holds what all in the room read: one stream of text, and a cursor for each user.
//
// A line is kept once, however many get it. A user's queue is not stored: it is the stream from the
// user's place to the end, with splices in it. A splice is a text for this user alone, or a stretch
// that this user is not sent (its own lines). So nothing is copied for a recipient.
//
// It offers Stream (Append) and Cursor (Attach, Skip, Insert, Pieces, Advance, Waiting, Detach).
package stream

import "bytes"

const (
	blockSize  = 64 * 1024 // bytes of a block of the stream
	joinedText = 4096      // bytes of private texts in a row that are kept as one
	spliceCost = 48        // bytes of memory that a splice takes besides its text
	all        = 1 << 40   // bytes; more than there are
)

// A block is a stretch of the stream. It links only forward, so what all have read is garbage.
type block struct {
	start int64 // offset in the stream of its first byte
	data  [blockSize]byte
	next  *block
}

// A Stream is all that the room has said. Only what some cursor has still to read is in memory.
type Stream struct {
	tail *block
	end  int64 // offset of its end
}

// New makes an empty stream.
func New() *Stream {
	return &Stream{tail: &block{}}
}

// Append adds a line, which may go on in a new block.
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

// A splice says: at the offset `at` of the stream put in `text`, then leave out `skip` bytes.
type splice struct {
	at   int64
	text []byte
	skip int64
	next *splice
}

// A Cursor is one user's place in the stream, and its splices. Outside the room it has only texts.
type Cursor struct {
	Stream  *Stream // which it reads
	block   *block  // where it reads; nil outside the room
	at      int64   // offset of the next byte of the stream
	first   *splice
	last    *splice // of those from `first`, where there are any
	taken   int     // bytes of the first splice's text that are behind us
	private int     // bytes of memory that the splices take
}

// Waiting counts the bytes that are kept in memory for the user, those that it is not sent and the
// bookkeeping too.
func (c *Cursor) Waiting() int {
	return int(c.end()-c.at) + c.private
}

// end is the offset where the cursor's part of the stream ends.
func (c *Cursor) end() int64 {
	if c.block == nil {
		return c.at
	}
	return c.Stream.end
}

// IsLevelWith tells whether exactly the same waits for two cursors in the room, without splices.
func (c *Cursor) IsLevelWith(other *Cursor) bool {
	return c.at == other.at && c.first == nil && c.block != nil
}

// Attach lets the cursor read the stream from here on; what waited comes first.
func (c *Cursor) Attach() {
	c.block, c.at = c.Stream.tail, c.Stream.end
	for s := c.first; s != nil; s = s.next {
		s.at = c.at
	}
}

// Insert puts in a text for this user alone, behind all that waits.
func (c *Cursor) Insert(text string) {
	last := c.last
	if c.first == nil || last.at != c.end() || len(last.text)+len(text) > joinedText {
		last = c.add(c.end())
	}
	c.private -= cap(last.text)
	last.text = append(last.text, text...) // its capacity is the memory that it really takes
	c.private += cap(last.text)
}

// Skip leaves out the last `length` bytes of the stream.
func (c *Cursor) Skip(length int) {
	last, at := c.last, c.Stream.end-int64(length)
	if c.first == nil || last.at+last.skip != at {
		last = c.add(at)
	}
	last.skip += int64(length)
}

// add puts an empty splice behind the others.
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

// nextPiece moves over the next bytes that lie together, at most so many, and gives them. It gives
// none where `most` is 0 or nothing is left; what the user is not sent there is passed then.
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

// stretch moves over the stream to `end`, or to the end of the block, and gives what is there.
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

// Pieces looks ahead, by the same walk on a copy: it lists what waits, in so many pieces at most.
func (c *Cursor) Pieces(most int) (pieces [][]byte) {
	ahead := *c
	for piece := ahead.nextPiece(all); len(piece) > 0 && len(pieces) < most; {
		pieces = append(pieces, piece)
		piece = ahead.nextPiece(all)
	}
	return pieces
}

// Advance moves on by bytes that were sent, and past what the user is not sent there.
func (c *Cursor) Advance(count int) {
	for piece := c.nextPiece(count); len(piece) > 0; piece = c.nextPiece(count) {
		count -= len(piece)
	}
}

// Detach leaves the room with a copy of what waits, so that nothing later is kept for this user.
func (c *Cursor) Detach() {
	text := bytes.Join(c.Pieces(all), nil)
	c.Clear()
	if len(text) > 0 {
		c.add(0).text = text
		c.private += cap(text)
	}
}

// Clear throws away what waits, and the place in the stream.
func (c *Cursor) Clear() {
	*c = Cursor{Stream: c.Stream}
}
