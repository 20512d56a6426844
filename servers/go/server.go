// Command server is a chat server: one room, many users, lines of text over TCP. PROTOCOL.md is
// its contract.
//
//	go run server.go                listens on 127.0.0.1:8080
//	go run server.go --help         tells the rest
//
// The way of a message, and of the file:
//
//	socket -> inbox -> line -> action -> the room's stream / a user's queue -> socket
//
// What holds everywhere:
//
//  1. Only the section "Sockets" receives from, sends to, or closes a connection.
//  2. To speak is to append: to the room's stream, which all users read, or to one user's queue.
//     Nothing is sent from a handler.
//  3. Nobody is freed inside a handler: a user is marked, and reaped at the end of the round.
//  4. Names are unique, case aside, among those in the room.
//  5. Text is bytes. It is checked once, and relayed as it came.
//
// One goroutine, the owner, runs main and nearly all else. It alone touches the state, so there is
// no mutex (but for what the workers tell each other of the accounts file). Each of the others
// waits for one thing, and then tells the owner on a channel what to do about it:
//
//	accept, read, await, work, timers, readConsole, writeSink, awaitSignal, awaitHangUp
//	-> events -> the owner
//
// Thus the owner waits for nothing but events, and there is no work for those who are silent.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sys/unix"
)

// ---------------------------------------------------------------------------------------------
// 1. Limits
// ---------------------------------------------------------------------------------------------

const (
	version     = "0.1.0"
	defaultHost = "127.0.0.1"
	defaultPort = 8080
	maxName     = 32          // bytes of a name
	maxLine     = 1024        // bytes of a line from a client, its end not counted
	whoLine     = 1024        // bytes of a line of /who, its end not counted
	maxClients  = 10000       // connections; one more is told that the server is full
	maxQueue    = 1024 * 1024 // bytes that may wait for one user; beyond, it is dropped
	maxRefusals = 5           // refused names on one connection; the last ends it
	maxWrong    = 3           // wrong passwords on one connection; the last ends it
	maxPassword = 72          // bytes of a password: bcrypt sees no more
	minPassword = 8           // bytes of a new one
	hashCost    = 10          // of a new one: each more doubles the time that a guess takes
	maxPending  = 1024 * 1024 // bytes that may wait for a sink; lines beyond are lost
	maxHeld     = 64 * 1024   // bytes of a user's input that its rate holds back
	blockSize   = 64 * 1024   // bytes of a block of the stream
	readSize    = 64 * 1024   // bytes received from one user in one go
	roundSize   = 256 * 1024  // bytes taken up and queued in a round, before all are sent theirs
	eventBatch  = 256         // events taken in a round, likewise
)

const (
	joinTime       = 60 * time.Second       // to give a good name, and its password
	lingerTime     = time.Second            // for one that the server ends: its queue, its last words
	drainTime      = 10 * time.Second       // for one whose client has ended its side: lines, queue
	pendingTime    = 250 * time.Millisecond // for what waits for a sink, before the process ends
	lossTime       = 100 * time.Millisecond // to say at the very end that some of it is lost
	acceptPause    = 100 * time.Millisecond // without accepting, when the descriptors have run out
	settleTime     = time.Second            // after a change, a file may change again and look the same
	lockTime       = 2 * time.Second        // to wait for others who are changing the accounts
	lockPause      = 5 * time.Millisecond   // between two tries
	workerNiceness = 10                     // of a worker: it has a ninth of the share of others
)

const (
	namePrompt     = "Enter your screen name: "
	passwordPrompt = "Password: "
	shutdown       = "Server is shutting down\n"
)

// ---------------------------------------------------------------------------------------------
// 2. Types
// ---------------------------------------------------------------------------------------------

// A phase is where a connection is in its life.
type phase int

const (
	naming    phase = iota // asked for a name
	proving                // asked for the password of that name
	chatting               // in the room
	leaving                // out of the room: its queue goes out, what still comes is discarded
	lingering              // our side is ended: what still comes is discarded until its side ends
	gone                   // to be reaped
)

// A block is a stretch of the stream. Its bytes are written once, so that a write may read the
// earlier ones meanwhile; it links only forward, so what all have read is garbage.
type block struct {
	start int64 // offset in the stream of its first byte
	data  []byte
	next  *block
}

// A splice says: at the offset `at` of the stream put in `text`, then leave out `skip` bytes.
type splice struct {
	at   int64
	text []byte
	skip int64
}

// A sink is where lines go that nobody may be reading: standard output, standard error, the log.
// They are written by a goroutine, so that a write that takes long delays nobody.
type sink struct {
	name    string
	file    *os.File
	next    *os.File // to go on with, once what is for the old file is written
	last    int      // bytes of pending that are for the old file
	pending []byte   // lines that are not being written yet
	spare   []byte   // memory for them
	writing bool     // writeSink is at work
	lost    *sink    // where to say that lines are lost; none once that is said
}

// An inbox is what a reader has handed over, and is not yet acted on. The reader lends its only
// buffer and waits meanwhile, so that whoever is not heard is not read from either.
type inbox struct {
	begun  []byte   // the beginning of a line whose end has not come
	unread []byte   // what is not acted on
	lent   []byte   // the reader's buffer, while unread is a part of it
	held   bool     // the reader waits
	readOn chan int // tells it to go on, with how many bytes; it has room for one such word
}

// A stamp tells one state of a file from another without reading it; none is that of no state.
type stamp struct {
	file              fileID
	modified, changed int64 // in nanoseconds
	size              int64
}

// A fileID tells one file from another. A new one may get the inode of one that is gone, but was
// born later.
type fileID struct {
	major, minor uint32
	inode        uint64
	born         int64 // in nanoseconds, where the system knows
}

// Accounts are the names that need a password, as a file has them.
type accounts struct {
	path      string
	hashes    map[string]string // by lower name
	stamp     stamp             // of the file when it was read; none where that has to be done again
	complaint string            // what is wrong with the file, as it was logged
	bad       stamp             // of the file that this is said of
	change    int               // the number of our own change that was taken over last
	known     knownFile
}

// A knownFile is what the workers have to know of the accounts file, and tell each other.
type knownFile struct {
	sync.Mutex
	read    stamp // as it was last taken over
	written stamp // as it was last written by ourselves, but for the time of the renaming
	changes int   // how many there were of our own
}

// A result is what came of a change.
type result struct {
	hashes map[string]string // all accounts then; none where there was no change
	number int               // of the change: workers may tell of theirs in another order
	seen   stamp             // of the file that was to be changed
}

// A change is what somebody wants to become of its account.
type change struct {
	action   string // register, passwd, or unregister
	name     string
	password string
}

// A job is what takes long, and so is done by a worker. What it gives is for the owner to do then.
type job struct {
	user *user
	work func() func()
}

// A user is one connection.
//
// Its queue is not stored: it is the stream from `sent` to the end, with its splices. So a message
// is kept once for all who get it, and costs its sender (who does not) one `skip`.
type user struct {
	conn     *net.TCPConn
	raw      syscall.RawConn // the same, for what should not wait
	phase    phase
	name     string
	inbox    inbox
	refusals int
	timer    *time.Timer // tells the owner at the deadline
	deadline time.Time   // when its phase is over: all but chatting are not for ever

	claimed  string              // the name whose password it is asked for
	wrong    int                 // wrong passwords
	verified map[string]struct{} // lower names whose password it has given, or set

	block   *block   // where in the stream it reads; none outside the room
	sent    int64    // offset of the next byte of the stream to send to it
	splices []splice // by offset
	extra   int64    // bytes of text in its splices, less those that they skip
	reply   int64    // bytes that the last line of its own brought it

	allowance time.Duration // for lines of its own: a second is worth `rate` of them
	reckoned  time.Time     // when it had that

	busy      bool // a worker has a job of its, or will have: its lines wait
	awaited   bool // the kernel takes no more for it at present: await is at work
	ended     bool // its client has ended its side
	ending    bool // so it has, and the time for the lines that are left runs
	pending   bool // is in server.pending
	inTurns   bool // is in server.turns
	throttled bool // is in server.throttled
}

type options struct {
	host         string
	port         int
	maxClients   int
	maxQueue     int
	joinTimeout  time.Duration
	rate         int // lines a second; 0: as they come
	log          string
	hasLog       bool
	accountsFile string
	hasAccounts  bool
	membersOnly  bool
	quiet        bool
}

// A server is everything. A connection is in exactly one of joining, users, departing, and gone.
type server struct {
	options
	listener *net.TCPListener
	events   chan func() // what has happened: told as what the owner shall do about it

	joining   map[*user]struct{} // naming and proving
	users     map[string]*user   // chatting: the room, by lower name
	departing map[*user]struct{} // leaving and lingering
	gone      []*user            // gone

	tail    *block // the last block of the stream
	end     int64  // offset of the end of the stream
	flushed int64  // the end of the stream when all were last sent it

	turns     []*user     // may have lines for us; the first in is heard first
	throttled []*user     // have lines that come too soon, by when they are due
	alarm     *time.Timer // tells when the first of those is
	pending   []*user     // to be flushed, whether or not the room has spoken
	load      int64       // bytes taken up and queued in this round

	accounts *accounts // where a file of them is in use
	jobs     []job     // wait for a worker; the first in is done first
	idle     int       // workers without a job
	toDo     chan job  // to the workers

	console inbox // from standard input
	output  *sink // standard output
	errors  *sink // standard error
	logFile *sink // the log, where there is one
	logger  *slog.Logger

	mustStop bool // a signal or the operator has said so
	stopping bool // everybody has been dismissed
	timeIsUp bool // whoever is left will not be waited for
}

// ---------------------------------------------------------------------------------------------
// 3. Output to the operator
// ---------------------------------------------------------------------------------------------

// printLine puts lines on standard output, at the end of the round.
func (s *server) printLine(lines string) {
	s.output.put(lines)
}

// put has whole lines written at the end of the round. They are lost where too much waits already,
// unless that is for a disk: after each round there is a wait for that.
func (k *sink) put(lines string) {
	if len(k.pending)+len(lines) > maxPending && !k.isOnDisk() {
		k.lose("not read")
	} else {
		k.pending = append(k.pending, lines...)
	}
}

// Write is put for the log's handler.
func (k *sink) Write(line []byte) (int, error) {
	k.put(string(line))
	return len(line), nil
}

// lose says on standard error that lines are lost, once. (If that is lost too, nothing is left to
// say it on.)
func (k *sink) lose(reason string) {
	if k.lost != nil {
		k.lost.put(fmt.Sprintf("chat-server: lines for %s are lost: %s\n", k.name, reason))
		k.lost = nil
	}
}

// flushSinks has all be written that waits and can be; it tells whether something is under way.
func (s *server) flushSinks() bool {
	isBusy := false
	for _, k := range []*sink{s.output, s.logFile, s.errors} {
		if k != nil {
			s.flushSink(k)
			isBusy = isBusy || k.writing
		}
	}
	return isBusy
}

// flushSink begins to write what waits, in one call for many lines.
func (s *server) flushSink(k *sink) {
	if k.writing {
		return
	}
	count := len(k.pending)
	if k.next != nil && k.last == 0 {
		k.file.Close()
		k.file, k.next = k.next, nil
	} else if k.next != nil {
		count, k.last = k.last, 0
	}
	if count > 0 {
		k.writing = true
		go s.writeSink(k, k.file, k.pending[:count])
		k.pending, k.spare = append(k.spare, k.pending[count:]...), nil
	}
}

// writeSink writes lines to a sink, and tells the owner when that is done. It is at most one
// goroutine for each sink, and ends when all is written, or cannot be.
func (s *server) writeSink(k *sink, file *os.File, lines []byte) {
	n, err := file.Write(lines)
	if err != nil && k == s.logFile {
		mend(file, lines[:n])
	}
	s.events <- func() { s.wroteSink(k, lines, err) }
}

// mend takes from the end of a log the beginning of a line that found no room there as a whole.
func mend(file *os.File, written []byte) {
	torn := len(written) - 1 - bytes.LastIndexByte(written, '\n')
	if info, err := file.Stat(); err == nil && torn > 0 {
		file.Truncate(info.Size() - int64(torn)) // fails where it is no regular file
	}
}

// wroteSink takes note that a write to a sink is done.
func (s *server) wroteSink(k *sink, lines []byte, err error) {
	k.writing = false
	if cap(lines) <= roundSize {
		k.spare = lines[:0]
	}
	if err != nil {
		k.lose(reason(err))
	}
}

// awaitDisk waits for disks that are far behind, so that a burst does not fill memory.
func (s *server) awaitDisk() {
	for _, k := range []*sink{s.output, s.logFile} {
		for k != nil && k.writing && len(k.pending) > maxPending/2 && k.isOnDisk() {
			(<-s.events)()
			s.flushSinks()
		}
	}
}

// writeRest writes what waits at the end of the program, for as long as that is read (LOG-4).
func (s *server) writeRest() {
	s.awaitSinks(pendingTime)
	for _, k := range []*sink{s.output, s.logFile} {
		for k != nil && k.writing && k.isOnDisk() { // which takes it, however slow the machine is
			(<-s.events)()
			s.flushSinks()
		}
		if k != nil && k.writing {
			k.lose("not read")
		}
	}
	s.awaitSinks(lossTime)
}

// isOnDisk tells whether nobody has to read what is written.
func (k *sink) isOnDisk() bool {
	info, err := k.file.Stat()
	return err == nil && info.Mode().IsRegular()
}

// awaitSinks waits until all is written that waits, but not for long.
func (s *server) awaitSinks(atMost time.Duration) {
	timeIsUp := time.After(atMost)
	for s.flushSinks() {
		select {
		case act := <-s.events:
			act()
		case <-timeIsUp:
			return
		}
	}
}

// ---------------------------------------------------------------------------------------------
// 4. Log
// ---------------------------------------------------------------------------------------------

// openLog opens a log to append to. It does not wait for somebody to read, as a pipe would have it.
func openLog(path string) (*os.File, error) {
	const flags = os.O_APPEND | os.O_CREATE | os.O_WRONLY | syscall.O_NONBLOCK
	file, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open log %s: %s", path, reason(err))
	}
	return file, nil
}

// startLog has events logged from here on, or ends the program.
func (s *server) startLog() {
	hangUps := catchHangUps()
	file, err := openLog(s.log)
	if err != nil {
		fail(1, err.Error()+"\n")
	}
	s.logFile = &sink{name: s.log, file: file, lost: s.errors}
	s.logger = slog.New(slog.NewJSONHandler(s.logFile, &slog.HandlerOptions{ReplaceAttr: logTime}))
	go s.awaitHangUp(hangUps)
}

// logTime puts the time of an event as LOG-2 wants it.
func logTime(_ []string, field slog.Attr) slog.Attr {
	if field.Value.Kind() == slog.KindTime {
		field.Value = slog.StringValue(field.Value.Time().UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	return field
}

// logEvent logs an event, where there is a log. The fields are in the order of LOG-2.
func (s *server) logEvent(level slog.Level, event string, fields ...slog.Attr) {
	if s.logger != nil {
		s.logger.LogAttrs(context.Background(), level, event, fields...)
	}
}

// logServer logs what becomes of the server itself.
func (s *server) logServer(event string) {
	s.logEvent(slog.LevelInfo, event, slog.String("addr", s.listener.Addr().String()))
}

// logRefusal logs that something of a user's was refused; never what that was (LOG-3).
func (s *server) logRefusal(u *user, reason string) {
	s.logEvent(slog.LevelWarn, "refuse", slog.Any("addr", u), slog.String("reason", reason))
}

// logError logs what went wrong.
func (s *server) logError(problem string) {
	s.logEvent(slog.LevelError, "error", slog.String("error", problem))
}

// LogValue is what of a user the field `addr` holds.
func (u *user) LogValue() slog.Value {
	return slog.StringValue(u.conn.RemoteAddr().String())
}

// reopenLog has the log go on in another file, or, where there is none, in the one that it has.
// What was logged before is still for that one.
func (s *server) reopenLog(file *os.File, err error) {
	if err != nil {
		s.logError(err.Error())
		return
	}
	k := s.logFile
	if k.next != nil {
		k.next.Close()
	}
	k.next, k.last = file, len(k.pending)
	k.file.SetWriteDeadline(time.Now().Add(pendingTime)) // a pipe that nobody reads is not waited for
}

// ---------------------------------------------------------------------------------------------
// 5. Lines
// ---------------------------------------------------------------------------------------------

const (
	notUTF8    = "! not valid UTF-8\n"
	hasControl = "! control characters are not allowed\n"
)

var tooLong = fmt.Sprintf("! line too long (limit %d bytes)\n", maxLine)

// put takes what a reader lends.
func (in *inbox) put(data []byte) {
	in.held, in.lent = true, data
	if len(in.unread) == 0 {
		in.unread = data
	} else {
		in.unread = append(in.unread, data...)
		in.giveBack()
	}
}

// hasLine tells whether there is a whole line.
func (in *inbox) hasLine() bool {
	return bytes.IndexByte(in.unread, '\n') >= 0
}

// takeLine takes the first whole line, without its end, if there is one yet.
//
// Of a line that is too long only so much is kept as shows that it is: it cannot fill memory.
func (in *inbox) takeLine() (string, bool) {
	part, rest, found := bytes.Cut(in.unread, []byte("\n"))
	in.unread = rest
	if !found {
		in.begun = append(in.begun, part[:min(len(part), maxLine+2-len(in.begun))]...)
		return "", false
	}
	line := string(in.begun) + string(part)
	in.begun = nil
	return strings.TrimSuffix(line, "\r"), true
}

// release lets the reader go on; what is unread is discarded.
func (in *inbox) release() {
	in.unread = nil
	in.giveBack()
	in.goOn(readSize)
}

// keep lets the reader go on though not all is acted on, as long as there is room for more.
func (in *inbox) keep() {
	room := maxHeld - len(in.begun) - len(in.unread)
	if in.held && room > 0 {
		if in.lent != nil {
			in.unread = bytes.Clone(in.unread)
			in.giveBack()
		}
		in.goOn(room)
	}
}

// giveBack ends the loan of the reader's buffer.
func (in *inbox) giveBack() {
	if in.lent != nil {
		buffers.Put((*[readSize]byte)(in.lent[:readSize]))
		in.lent = nil
	}
}

// goOn has the reader read on, if it waits.
func (in *inbox) goOn(room int) {
	if in.held {
		in.held = false
		in.readOn <- room
	}
}

// checkLine says what is wrong with a line, if anything is (FRAME-4 to FRAME-6, in that order).
func checkLine(line string) string {
	switch {
	case len(line) > maxLine:
		return tooLong
	case !utf8.ValidString(line):
		return notUTF8
	case strings.ContainsFunc(line, isControl):
		return hasControl
	}
	return ""
}

// isControl tells whether a character is one of C0 except TAB, DEL and C1, or of those that break
// a line or turn its direction on the screen.
func isControl(r rune) bool {
	return r < ' ' && r != '\t' || r >= 0x7f && r <= 0x9f ||
		r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// trim takes away the spaces and tabs around a text.
func trim(text string) string {
	return strings.Trim(text, " \t")
}

// lower gives a text in lower case, as far as it is ASCII. (strings.ToLower would make the Kelvin
// sign a k, and so let it pass for someone.)
func lower(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r - 'A' + 'a'
		}
		return r
	}, text)
}

// ---------------------------------------------------------------------------------------------
// 6. Queues
// ---------------------------------------------------------------------------------------------

func newBlock(start int64) *block {
	return &block{start: start, data: make([]byte, blockSize)}
}

// streamAppend appends a line to the stream; it may go on in a new block.
func (s *server) streamAppend(line string) {
	s.load += int64(len(line))
	for len(line) > 0 {
		at := s.end - s.tail.start
		if at == blockSize {
			s.tail.next = newBlock(s.end)
			s.tail = s.tail.next
			at = 0
		}
		n := copy(s.tail.data[at:], line)
		s.end += int64(n)
		line = line[n:]
	}
}

// streamSkip leaves out for a user the last bytes of the stream.
func (s *server) streamSkip(u *user, length int64) {
	at := s.end - length
	u.extra -= length
	if last := u.lastSplice(); last != nil && last.at+last.skip == at {
		last.skip += length
	} else {
		u.splices = append(u.splices, splice{at: at, skip: length})
	}
}

// queueText puts in a text for one user, after all that the room has said.
func (s *server) queueText(u *user, text string) {
	at := u.sent
	if u.block != nil {
		at = s.end
	}
	s.load += int64(len(text))
	u.extra += int64(len(text))
	if last := u.lastSplice(); last != nil && last.at == at { // it cannot skip: the stream ends here
		last.text = append(last.text, text...)
	} else {
		u.splices = append(u.splices, splice{at: at, text: []byte(text)})
	}
}

func (u *user) lastSplice() *splice {
	if len(u.splices) == 0 {
		return nil
	}
	return &u.splices[len(u.splices)-1]
}

// behind counts the bytes of the stream that a user keeps in memory, its own lines too.
func (s *server) behind(u *user) int64 {
	if u.block == nil {
		return 0
	}
	return s.end - u.sent
}

// waiting counts the bytes that wait to be sent to a user.
func (s *server) waiting(u *user) int64 {
	return s.behind(u) + u.extra
}

// pieces gives what waits for a user, in order, without taking it. The pieces stay as they are
// when the owner goes on, so that another goroutine may send them.
func (s *server) pieces(u *user) net.Buffers {
	var pieces net.Buffers
	at := u.sent
	for _, splice := range u.splices {
		pieces = streamPieces(pieces, u.block, at, splice.at)
		if len(splice.text) > 0 {
			pieces = append(pieces, splice.text)
		}
		at = splice.at + splice.skip
	}
	return streamPieces(pieces, u.block, at, s.end)
}

// streamPieces adds the stream from at to end; b is a block that does not begin after at.
func streamPieces(pieces net.Buffers, b *block, at, end int64) net.Buffers {
	for ; b != nil && at < end; b = b.next {
		if stop := min(end, b.start+blockSize); at < stop {
			pieces = append(pieces, b.data[at-b.start:stop-b.start])
			at = stop
		}
	}
	return pieces
}

// advance moves a user's place past bytes that were sent, and past all that it skips there.
func (u *user) advance(count int64) {
	for len(u.splices) > 0 {
		first := &u.splices[0]
		step := min(count, first.at-u.sent)
		u.sent += step
		count -= step
		taken := min(count, int64(len(first.text)))
		first.text = first.text[taken:]
		u.extra -= taken
		count -= taken
		if len(first.text) > 0 || u.sent < first.at {
			break
		}
		u.sent += first.skip
		u.extra += first.skip
		u.dropSplice()
	}
	u.sent += count
	for u.block != nil && u.block.next != nil && u.block.next.start <= u.sent {
		u.block = u.block.next
	}
}

// dropSplice takes away a user's first splice; the memory of the last one is given back.
func (u *user) dropSplice() {
	u.splices = u.splices[1:]
	if len(u.splices) == 0 {
		u.splices = nil
	}
}

// attach lets a user read the stream from here on; what waited for it comes first.
func (s *server) attach(u *user) {
	u.block, u.sent = s.tail, s.end
	for i := range u.splices {
		u.splices[i].at = s.end
	}
}

// detach gives a user who leaves a copy of what waits, lest it keep in memory all that follows.
func (s *server) detach(u *user) {
	text := bytes.Join(s.pieces(u), nil)
	u.block, u.sent, u.extra = nil, 0, int64(len(text))
	u.splices = []splice{{text: text}}
}

// ---------------------------------------------------------------------------------------------
// 7. Room
// ---------------------------------------------------------------------------------------------

const (
	alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	nameLetters  = alphanumeric + "_-"
)

var badName = fmt.Sprintf(
	"! invalid name: use 1 to %d letters, digits, \"_\" or \"-\"\n", maxName)

// find finds who has a name, case aside.
func (s *server) find(name string) *user {
	return s.users[lower(name)]
}

// broadcast says a line to everyone in the room but its sender, and to the operator.
func (s *server) broadcast(line string, sender *user) {
	s.streamAppend(line)
	if sender != nil {
		s.streamSkip(sender, int64(len(line)))
	}
	if !s.quiet {
		s.printLine(line)
	}
}

// say broadcasts a message.
func (s *server) say(name, text string, sender *user) {
	s.broadcast(name+": "+text+"\n", sender)
	s.logEvent(slog.LevelInfo, "message", slog.String("name", name), slog.String("text", text))
}

// tell says something to one user alone.
func (s *server) tell(u *user, text string) {
	s.queueText(u, text)
	s.touch(u)
}

// touch has a user flushed at the end of the round.
func (s *server) touch(u *user) {
	if !u.pending {
		u.pending = true
		s.pending = append(s.pending, u)
	}
}

// nameIsValid tells whether a name is made as JOIN-2 wants it.
func nameIsValid(name string) bool {
	return name != "" && len(name) <= maxName && isMadeOf(name, nameLetters)
}

// isMadeOf tells whether a text has no other letters.
func isMadeOf(text, letters string) bool {
	return strings.Trim(text, letters) == ""
}

// nameError says why a user cannot have a name, if so (JOIN-2, JOIN-3; for /nick too).
func (s *server) nameError(u *user, name string) string {
	if !nameIsValid(name) {
		return badName
	}
	owner := s.find(name)
	recased := owner == u && name != u.name
	reserved := lower(name) == "server" || lower(name) == "password"
	if reserved || owner != nil && !recased {
		return "! name in use: " + name + "\n"
	}
	return ""
}

// enter lets a user into the room. The notice is said before it can hear: it is for the others.
func (s *server) enter(u *user, name string) {
	s.broadcast(name+" has joined the chat\n", nil)
	delete(s.joining, u)
	u.phase, u.name = chatting, name
	s.stayOn(u)
	u.allowance, u.reckoned = time.Second, time.Now()
	s.users[lower(name)] = u
	s.attach(u)
	welcome := "Welcome, %s (%d online). Type /help for commands.\n"
	s.tell(u, fmt.Sprintf(welcome, name, len(s.users)))
	s.logEvent(slog.LevelInfo, "join", slog.String("name", name), slog.Any("addr", u))
}

// stayOn ends the time to join. A client that has ended its side meanwhile has that of LEAVE-2.
func (s *server) stayOn(u *user) {
	if !u.ending {
		u.timer.Stop()
		u.timer = nil
	}
	if u.ended {
		s.limitLines(u)
	}
}

// leave takes a user out of the room: its name is free, and the others are told; why, the log.
func (s *server) leave(u *user, reason string) {
	delete(s.users, lower(u.name))
	s.detach(u)
	s.broadcast(u.name+" has left the chat\n", nil)
	s.logEvent(slog.LevelInfo, "leave",
		slog.String("name", u.name), slog.Any("addr", u), slog.String("reason", reason))
}

// ---------------------------------------------------------------------------------------------
// 8. Accounts
// ---------------------------------------------------------------------------------------------

// First half: the file.

const wrongPassword = "! wrong password\n"

const (
	hashLetters = "./" + alphanumeric
	hashLength  = 60 // bytes: the head, then salt and hash
	headLength  = 7
)

var (
	goodHead    = regexp.MustCompile(`^\$2[aby]\$(0[4-9]|1[0-7])\$$`)
	badPassword = fmt.Sprintf("! password must be %d to %d bytes\n", minPassword, maxPassword)
)

var (
	errNotRegular = errors.New("not a regular file")
	errInUse      = errors.New("somebody else is changing it")
	errNoChange   = errors.New("the account is there already, or there no longer")
)

// isRegistered tells whether a name is an account.
func (s *server) isRegistered(name string) bool {
	return s.accounts != nil && s.accounts.hashes[lower(name)] != ""
}

// isVerified tells whether a user has shown that the account of a name is its own.
func (u *user) isVerified(name string) bool {
	_, ok := u.verified[lower(name)]
	return ok
}

// verify notes that the account of a name is a user's own.
func (u *user) verify(name string) {
	if u.verified == nil {
		u.verified = make(map[string]struct{})
	}
	u.verified[lower(name)] = struct{}{}
}

// ownsAccount tells whether a user's name is an account, and its own.
func (s *server) ownsAccount(u *user) bool {
	return s.isRegistered(u.name) && u.isVerified(u.name)
}

// accountError says why a user cannot have a name as it is no account of its own (ACCT-3, ACCT-6).
func (s *server) accountError(u *user, name string) string {
	isRegistered := s.isRegistered(name)
	switch {
	case isRegistered && !u.isVerified(name):
		return "! name registered: " + name + "\n"
	case !isRegistered && s.membersOnly:
		return "! name not registered: " + name + "\n"
	}
	return ""
}

// passwordIsValid tells whether a new password is as long as it has to be.
func passwordIsValid(password string) bool {
	return len(password) >= minPassword && len(password) <= maxPassword
}

// startAccounts reads the file and starts the workers, or ends the program.
func (s *server) startAccounts() {
	s.accounts = &accounts{path: s.accountsFile}
	text, seen, err := readAccounts(s.accounts.path)
	if err == nil {
		err = s.accounts.adopt(text, seen)
	}
	if err != nil {
		fail(1, s.accounts.problem(err)+"\n")
	}
	s.startWorkers()
}

// refreshAccounts reads the file again where it has changed, and nobody is at it any more: htpasswd
// writes into it, and half of it may look like a good one. Until then a look must do. Where it has
// gone bad, that is logged once, and the accounts that were good stay in force (ACCT-1).
func (s *server) refreshAccounts() {
	a := s.accounts
	if a == nil {
		return
	}
	seen, err := stampAt(a.path)
	if err == nil && (seen == a.stamp || !seen.isSettled()) {
		return
	}
	text, read, err := readAccounts(a.path)
	if err == nil {
		if now, _ := stampAt(a.path); now != read || !read.isSettled() {
			return // it has changed meanwhile
		}
		err = a.adopt(text, read)
	}
	if err != nil {
		s.complain(a.problem(err), seen, err)
	} else {
		s.forgetAccounts()
	}
}

// complain logs what is wrong with the file, once for each state of it.
func (s *server) complain(text string, seen stamp, err error) {
	a := s.accounts
	if complaint := reason(err); complaint != a.complaint || seen != a.bad {
		a.complaint, a.bad = complaint, seen
		s.logError(text)
	}
}

// forgetAccounts forgets whose the accounts were that are gone: the next one of that name may be
// somebody else's.
func (s *server) forgetAccounts() {
	isGone := func(name string, _ struct{}) bool { return !s.isRegistered(name) }
	for u := range s.joining {
		maps.DeleteFunc(u.verified, isGone)
	}
	for _, u := range s.users {
		maps.DeleteFunc(u.verified, isGone)
	}
}

// adopt takes the accounts from the text of the file, where it is good. A file that was changed
// only just now is read again later: were it changed in the same tick of the clock once more, it
// would look the same.
func (a *accounts) adopt(text string, seen stamp) error {
	a.stamp = stamp{}
	if seen.isSettled() {
		a.stamp = seen
	}
	hashes, err := parseAccounts(text)
	if err != nil {
		return err
	}
	a.hashes, a.complaint = hashes, ""
	a.known.Lock()
	defer a.known.Unlock()
	a.known.read = seen
	return nil
}

// problem says that the accounts cannot be read.
func (a *accounts) problem(err error) string {
	return fmt.Sprintf("cannot read accounts %s: %s", a.path, reason(err))
}

// readAccounts reads the file.
func readAccounts(path string) (string, stamp, error) {
	file, err := openAccounts(path)
	if err != nil {
		return "", stamp{}, err
	}
	defer file.Close()
	return readStamped(file)
}

// openAccounts opens the file, if it is one. (A pipe would have no end, or nobody to write to it.)
func openAccounts(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}

// readStamped reads an open file. The stamp is the older, so that a change meanwhile shows.
func readStamped(file *os.File) (string, stamp, error) {
	seen, err := stampOf(file)
	if err != nil {
		return "", stamp{}, err
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return "", stamp{}, err
	}
	return string(text), seen, nil
}

// stampAt gives the stamp of the file at a path.
func stampAt(path string) (stamp, error) {
	return statStamp(unix.AT_FDCWD, path, 0)
}

// stampOf gives the stamp of an open file.
func stampOf(file *os.File) (stamp, error) {
	return statStamp(int(file.Fd()), "", unix.AT_EMPTY_PATH)
}

func statStamp(folder int, path string, flags int) (stamp, error) {
	var about unix.Statx_t
	const wanted = unix.STATX_BASIC_STATS | unix.STATX_BTIME
	if err := unix.Statx(folder, path, flags, wanted, &about); err != nil {
		return stamp{}, err
	}
	file := fileID{about.Dev_major, about.Dev_minor, about.Ino, nanoseconds(about.Btime)}
	return stamp{
		file:     file,
		modified: nanoseconds(about.Mtime),
		changed:  nanoseconds(about.Ctime),
		size:     int64(about.Size),
	}, nil
}

func nanoseconds(t unix.StatxTimestamp) int64 {
	return time.Unix(t.Sec, int64(t.Nsec)).UnixNano()
}

// isSettled tells whether a file is not just being changed. (A time yet to come tells nothing.)
func (now stamp) isSettled() bool {
	age := time.Duration(time.Now().UnixNano() - now.changed)
	return age < 0 || age >= settleTime
}

// isBeingWritten tells whether the file that we know was written into just now. Who owns it and
// may read it is no matter; and another file is there as a whole, as it was renamed.
func (k *knownFile) isBeingWritten(now stamp) bool {
	k.Lock()
	defer k.Unlock()
	isKnown := now.file == k.read.file || now.file == k.written.file
	return isKnown && !now.isSettled() && !now.holdsAs(k.read) && !now.holdsAs(k.written)
}

// holdsAs tells whether a file holds what it held.
func (now stamp) holdsAs(then stamp) bool {
	return now.file == then.file && now.modified == then.modified && now.size == then.size
}

// noteWritten notes how we wrote the file, and gives the number of that change.
func (k *knownFile) noteWritten(written stamp) int {
	k.Lock()
	defer k.Unlock()
	k.written = written
	k.changes++
	return k.changes
}

// parseAccounts gives the hashes by lower name, or says which line is wrong, and why.
func parseAccounts(text string) (map[string]string, error) {
	hashes := make(map[string]string)
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if err := parseAccount(hashes, line); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return hashes, nil
}

// parseAccount adds the account that a line is.
func parseAccount(hashes map[string]string, line string) error {
	name, hash, isPair := strings.Cut(line, ":")
	key := lower(name)
	switch {
	case !isPair:
		return errors.New("not NAME:HASH")
	case !nameIsValid(name):
		return errors.New("invalid name")
	case !hashIsValid(hash):
		return errors.New("not a bcrypt hash")
	case hashes[key] != "":
		return errors.New("name given twice")
	}
	hashes[key] = hash
	return nil
}

// hashIsValid tells whether a hash is one of bcrypt, of a cost that is borne.
func hashIsValid(hash string) bool {
	return len(hash) == hashLength && goodHead.MatchString(hash[:headLength]) &&
		isMadeOf(hash[headLength:], hashLetters)
}

// changeAccounts makes a change to the file as it now is. It is done by a worker. All who change the
// file take turns, other servers too.
func (k *knownFile) changeAccounts(path string, c change) (result, error) {
	hash, err := c.hash()
	if err != nil {
		return result{}, err
	}
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return result{}, err
	}
	seen, _ := stampAt(path)
	file, err := lockAccounts(path)
	if err != nil {
		return result{seen: seen}, err
	}
	defer file.Close() // which unlocks it
	text, seen, err := readStamped(file)
	if err == nil {
		text, err = k.editFile(text, seen, c, hash)
	}
	if err != nil {
		return result{seen: seen}, err
	}
	return k.replaceFile(path, text, seen)
}

// editFile gives what the file shall hold, unless somebody is at it, or there is nothing to change.
func (k *knownFile) editFile(text string, seen stamp, c change, hash string) (string, error) {
	if k.isBeingWritten(seen) {
		return "", errInUse
	}
	hashes, err := parseAccounts(text)
	if err != nil {
		return "", err
	}
	if isThere := hashes[lower(c.name)] != ""; isThere == c.makesNew() {
		return "", errNoChange
	}
	return editAccounts(text, c.name, hash), nil
}

// makesNew tells whether a change makes an account that must not be there yet; any other is to one
// that must be.
func (c change) makesNew() bool {
	return c.action == "register"
}

// hash gives what an account shall have; none is that it shall be no more.
func (c change) hash() (string, error) {
	if c.action == "unregister" {
		return "", nil
	}
	return hashPassword(c.password)
}

// lockAccounts opens the file and locks it, until it is closed. The one that was locked may have
// been replaced meanwhile: then it is the new one that has to be.
func lockAccounts(path string) (*os.File, error) {
	end := time.Now().Add(lockTime)
	for {
		file, err := openAccounts(path)
		if err != nil {
			return nil, err
		}
		if err = lock(file, end); err == nil && isAt(file, path) {
			return file, nil
		}
		file.Close()
		if err != nil {
			return nil, err
		}
	}
}

// lock locks a file, but does not wait for ever: whoever has locked it may be a person.
func lock(file *os.File, end time.Time) error {
	for ; ; time.Sleep(lockPause) {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err != syscall.EWOULDBLOCK {
			return err
		}
		if time.Now().After(end) {
			return errInUse
		}
	}
}

// isAt tells whether an open file is the one at a path.
func isAt(file *os.File, path string) bool {
	open, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(open, there)
}

// editAccounts gives the text of the file with one account changed, or added at its end, or left
// out where there is no hash. All other lines stay as they are.
func editAccounts(text, name, hash string) string {
	var edited strings.Builder
	isDone := hash == ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n") + "\n" // the last one may have lacked it
		given, _, _ := strings.Cut(line, ":")
		if lower(given) == lower(name) {
			line = ""
			if hash != "" {
				line = given + ":" + hash + "\n"
			}
			isDone = true
		}
		edited.WriteString(line)
	}
	if !isDone {
		edited.WriteString(name + ":" + hash + "\n")
	}
	return edited.String()
}

// replaceFile replaces the file in one step, so that at any time there is the old one or the
// new one, whole (ACCT-5). One that somebody has changed meanwhile, who does not lock it, stays.
func (k *knownFile) replaceFile(path, text string, seen stamp) (result, error) {
	made := result{seen: seen}
	hashes, err := parseAccounts(text)
	if err != nil {
		return made, err
	}
	aside := path + ".new"
	syscall.Unlink(aside) // it may be left over from a crash
	written, err := writeAside(aside, text)
	if err == nil {
		err = renameOver(aside, path, seen)
	}
	if err != nil {
		syscall.Unlink(aside)
		return made, err
	}
	made.hashes, made.number = hashes, k.noteWritten(written)
	syncFolder(filepath.Dir(path)) // as far as the system can: the change counts already
	return made, nil
}

// writeAside writes the text of the file to a new one, and to the disk.
func writeAside(aside, text string) (stamp, error) {
	const flags = os.O_CREATE | os.O_EXCL | os.O_WRONLY | syscall.O_NOFOLLOW
	file, err := os.OpenFile(aside, flags, 0o600)
	if err != nil {
		return stamp{}, err
	}
	defer file.Close()
	if _, err := file.WriteString(text); err != nil {
		return stamp{}, err
	}
	if err := file.Sync(); err != nil {
		return stamp{}, err
	}
	return stampOf(file)
}

// renameOver puts the new file in the place of the one that was seen there.
func renameOver(aside, path string, seen stamp) error {
	now, err := stampAt(path)
	if err != nil {
		return err
	}
	if now != seen {
		return errInUse
	}
	return os.Rename(aside, path)
}

// syncFolder writes to the disk which files a folder has.
func syncFolder(path string) {
	if folder, err := os.Open(path); err == nil {
		folder.Sync()
		folder.Close()
	}
}

// Second half: the workers. All that takes long is theirs, so that it holds nobody up (ACCT-7).

// startWorkers starts as many workers as there are processors. They take none from the others: Go
// may use as many more at a time.
func (s *server) startWorkers() {
	workers := runtime.NumCPU()
	runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + workers)
	s.idle = workers
	s.toDo = make(chan job, workers)
	for range workers {
		go s.work()
	}
}

// work does one job after the other, and tells the owner of each when it is done. It is one
// goroutine for each worker, to the end, on a thread of its own.
func (s *server) work() {
	runtime.LockOSThread()
	yieldToOthers()
	for j := range s.toDo {
		act := j.work()
		s.events <- func() { s.finishJob(j.user, act) }
	}
}

// yieldToOthers gives this thread a lower priority, so that whoever else wakes up breaks in, but
// not so low that a busy machine stops it for long: it may hold what the others need, such as a lock
// of Go's scheduler. It is only a wish.
func yieldToOthers() {
	unix.Setpriority(unix.PRIO_PROCESS, 0, workerNiceness)
}

// startJob has a job of a user's done when those before it are. Its lines wait until then, so that it
// has one at the most.
func (s *server) startJob(u *user, work func() func()) {
	u.busy = true
	s.jobs = append(s.jobs, job{user: u, work: work})
	s.handOutJobs()
}

// handOutJobs gives those workers something to do that have nothing. What nobody is there for any
// more is not done.
func (s *server) handOutJobs() {
	for s.idle > 0 && len(s.jobs) > 0 {
		next := s.jobs[0]
		s.jobs[0] = job{} // it may hold a password
		s.jobs = s.jobs[1:]
		if s.isPresent(next.user) {
			s.idle--
			s.toDo <- next
		}
	}
}

// forgetJobs forgets what nobody is there for any more.
func (s *server) forgetJobs() {
	s.jobs = slices.DeleteFunc(s.jobs, func(j job) bool { return !s.isPresent(j.user) })
}

// finishJob does what comes of a job, and hears its user again.
func (s *server) finishJob(u *user, act func()) {
	s.idle++
	s.handOutJobs()
	u.busy = false
	s.noteReply(u, act)
	s.resume(u)
}

// hashPassword gives a new hash, under the name that htpasswd gives to this kind.
func hashPassword(password string) (string, error) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), hashCost)
	return strings.Replace(string(hash), "$2a$", "$2y$", 1), err
}

// checkPassword has a worker see whether a user's password is the right one.
func (s *server) checkPassword(u *user, password string) {
	hash := s.accounts.hashes[lower(u.claimed)]
	s.startJob(u, func() func() {
		isRight := bcrypt.CompareHashAndPassword([]byte(hash), []byte(password)) == nil
		return func() { s.passwordChecked(u, hash, isRight) }
	})
}

// passwordChecked lets a user in whose password was right, unless somebody else was before it. It
// was right for the account with that hash: any other by now may be somebody else's.
func (s *server) passwordChecked(u *user, hash string, isRight bool) {
	if u.phase != proving {
		return
	}
	if !isRight || hash != s.accounts.hashes[lower(u.claimed)] {
		s.refusePassword(u, "password", wrongPassword)
		return
	}
	u.verify(u.claimed)
	if problem := s.nameError(u, u.claimed); problem != "" {
		u.phase = naming
		s.refuseName(u, "name", problem)
	} else {
		s.enter(u, u.claimed)
	}
}

// changeAccount has a worker change a user's account.
func (s *server) changeAccount(u *user, c change) {
	path, known := s.accounts.path, &s.accounts.known
	s.startJob(u, func() func() {
		made, err := known.changeAccounts(path, c)
		return func() { s.accountsChanged(u, c, made, err) }
	})
}

// accountsChanged takes note of a change, and tells the one who asked for it, if it is still there.
func (s *server) accountsChanged(u *user, c change, made result, err error) {
	answer := ""
	switch {
	case err == nil:
		s.adoptChange(made)
		s.noteChange(u, c)
		answer = c.answer()
	case err == errNoChange:
		answer = c.refusal()
	default:
		s.complain(fmt.Sprintf("cannot change accounts %s: %s", s.accounts.path, reason(err)),
			made.seen, err)
		answer = "! accounts cannot be changed now\n"
	}
	if u.phase == chatting {
		s.tell(u, answer)
	}
}

// noteChange notes whose account that is, and logs the change.
func (s *server) noteChange(u *user, c change) {
	if c.action != "unregister" {
		u.verify(c.name)
	}
	s.logEvent(slog.LevelInfo, "account",
		slog.String("name", c.name), slog.String("reason", c.action))
}

// adoptChange has the accounts in force at once as a worker left them, unless a later change has
// told of them already. The file may have been changed since: once it is settled, it is read again.
func (s *server) adoptChange(made result) {
	a := s.accounts
	if made.number > a.change {
		a.hashes, a.change = made.hashes, made.number
		a.stamp, a.complaint = stamp{}, ""
		s.forgetAccounts()
	}
}

// answer says that a change is made.
func (c change) answer() string {
	switch c.action {
	case "register":
		return "Registered " + c.name + "\n"
	case "passwd":
		return "Password changed\n"
	}
	return "Unregistered " + c.name + "\n"
}

// refusal says that there is an account already, or none to change.
func (c change) refusal() string {
	if c.makesNew() {
		return "! already registered: " + c.name + "\n"
	}
	return "! not registered: " + c.name + "\n"
}

// ---------------------------------------------------------------------------------------------
// 9. Commands
// ---------------------------------------------------------------------------------------------

const (
	helpFirst    = "Commands: /help, /who, /msg NAME TEXT, /nick NAME, "
	helpAccounts = "/register PASSWORD, /passwd PASSWORD, /unregister, "
	helpLast     = "/quit (// to begin a message with /)\n"
)

// cmdHelp is /help: the commands.
func (s *server) cmdHelp(u *user, _ string) {
	if s.accounts != nil {
		s.tell(u, helpFirst+helpAccounts+helpLast)
	} else {
		s.tell(u, helpFirst+helpLast)
	}
}

// cmdWho is /who: all in the room.
func (s *server) cmdWho(u *user, _ string) {
	s.tell(u, s.whoLines())
}

// whoLines lists all in the room, on as many lines as that takes (CMD-2).
func (s *server) whoLines() string {
	keys := make([]string, 0, len(s.users))
	for key := range s.users {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	head := fmt.Sprintf("Online (%d): ", len(keys))
	lines := []string{head}
	for _, key := range keys {
		name := s.users[key].name
		last := &lines[len(lines)-1]
		switch {
		case *last == head:
			*last += name
		case len(*last)+len(", ")+len(name) <= whoLine:
			*last += ", " + name
		default:
			lines = append(lines, head+name)
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// cmdMsg is /msg NAME TEXT: for one other user only.
func (s *server) cmdMsg(u *user, rest string) {
	name, text, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	text = strings.TrimLeft(text, " ")
	other := s.find(name)
	switch {
	case name == "" || trim(text) == "":
		s.tell(u, "! usage: /msg NAME TEXT\n")
	case other == nil:
		s.tell(u, "! no such user: "+name+"\n")
	case other == u:
		s.tell(u, "! cannot message yourself\n")
	default:
		s.tell(other, "(private) "+u.name+": "+text+"\n")
		s.logEvent(slog.LevelInfo, "private",
			slog.String("name", u.name), slog.String("to", other.name))
	}
}

// cmdNick is /nick NAME: another name.
func (s *server) cmdNick(u *user, rest string) {
	name := trim(rest)
	problem := s.nameError(u, name)
	if problem == "" {
		s.refreshAccounts()
		problem = s.accountError(u, name)
	}
	if problem != "" {
		s.tell(u, problem)
		return
	}
	delete(s.users, lower(u.name))
	s.users[lower(name)] = u
	s.broadcast(u.name+" is now known as "+name+"\n", nil)
	s.logEvent(slog.LevelInfo, "rename", slog.String("name", u.name), slog.String("to", name))
	u.name = name
}

// cmdRegister is /register PASSWORD: one's name becomes an account.
func (s *server) cmdRegister(u *user, rest string) {
	s.refreshAccounts()
	s.setPassword(u, "register", rest, !s.isRegistered(u.name))
}

// cmdPasswd is /passwd PASSWORD: another password for one's account.
func (s *server) cmdPasswd(u *user, rest string) {
	s.refreshAccounts()
	s.setPassword(u, "passwd", rest, s.ownsAccount(u))
}

// setPassword has a user's account get a password, if it may, and that is a good one.
func (s *server) setPassword(u *user, action, rest string, mayDo bool) {
	c := change{action: action, name: u.name, password: strings.TrimLeft(rest, " ")}
	switch {
	case !mayDo:
		s.tell(u, c.refusal())
	case !passwordIsValid(c.password):
		s.tell(u, badPassword)
	default:
		s.changeAccount(u, c)
	}
}

// cmdUnregister is /unregister: one's name is an account no longer.
func (s *server) cmdUnregister(u *user, _ string) {
	s.refreshAccounts()
	c := change{action: "unregister", name: u.name}
	if s.ownsAccount(u) {
		s.changeAccount(u, c)
	} else {
		s.tell(u, c.refusal())
	}
}

// cmdQuit is /quit: the end.
func (s *server) cmdQuit(u *user, _ string) {
	s.tell(u, "Goodbye, "+u.name+"\n")
	s.dismiss(u, "quit")
}

var commands = map[string]func(s *server, u *user, rest string){
	"help": (*server).cmdHelp,
	"who":  (*server).cmdWho,
	"msg":  (*server).cmdMsg,
	"nick": (*server).cmdNick,
	"quit": (*server).cmdQuit,
}

// accountCommands are there where accounts are.
var accountCommands = map[string]func(s *server, u *user, rest string){
	"register":   (*server).cmdRegister,
	"passwd":     (*server).cmdPasswd,
	"unregister": (*server).cmdUnregister,
}

// findCommand finds a command by its word, case aside.
func (s *server) findCommand(word string) func(s *server, u *user, rest string) {
	if command, ok := accountCommands[lower(word)]; ok && s.accounts != nil {
		return command
	}
	return commands[lower(word)]
}

// isCommand tells a command from a message.
func isCommand(line string) bool {
	return strings.HasPrefix(line, "/") && !strings.HasPrefix(line, "//")
}

// splitCommand splits "/WORD REST" into WORD and REST.
func splitCommand(line string) (word, rest string) {
	word, rest, _ = strings.Cut(line[1:], " ")
	return word, rest
}

// unknownCommand says that there is no such command.
func unknownCommand(word string) string {
	return "! unknown command: /" + word + " (try /help)\n"
}

// messageText gives the text of a line that is a message (CHAT-5).
func messageText(line string) string {
	return strings.TrimPrefix(line, "/")
}

// ---------------------------------------------------------------------------------------------
// 10. Lines to actions
// ---------------------------------------------------------------------------------------------

// handleLine acts on one line of a user's.
func (s *server) handleLine(u *user, line string) {
	switch u.phase {
	case naming:
		s.handleName(u, line)
	case proving:
		s.handlePassword(u, line)
	default:
		s.handleChat(u, line)
	}
}

// handleName takes a line as the answer to the prompt for a name.
func (s *server) handleName(u *user, line string) {
	name := trim(line)
	if problem := checkLine(line); problem != "" {
		s.refuseName(u, "line", problem)
	} else if problem := s.nameError(u, name); problem != "" {
		s.refuseName(u, "name", problem)
	} else {
		s.claimName(u, name)
	}
}

// claimName lets a user in by a name that nobody has, where it is no account (or must be none).
func (s *server) claimName(u *user, name string) {
	s.refreshAccounts()
	if s.isRegistered(name) {
		u.phase, u.claimed = proving, name
		s.tell(u, passwordPrompt)
	} else if problem := s.accountError(u, name); problem != "" {
		s.refuseName(u, "name", problem)
	} else {
		s.enter(u, name)
	}
}

// refuseName says why a name will not do, and asks again, but not for ever (JOIN-7).
func (s *server) refuseName(u *user, reason, problem string) {
	s.logRefusal(u, reason)
	u.refusals++
	s.askAgain(u, problem, namePrompt, u.refusals < maxRefusals)
}

// handlePassword takes a line, as it is, as the answer to the prompt for a password.
func (s *server) handlePassword(u *user, line string) {
	if problem := checkLine(line); problem != "" {
		s.refusePassword(u, "line", problem)
	} else if len(line) > maxPassword {
		s.refusePassword(u, "password", wrongPassword)
	} else {
		s.checkPassword(u, line)
	}
}

// refusePassword is refuseName for a password (ACCT-2).
func (s *server) refusePassword(u *user, reason, problem string) {
	s.logRefusal(u, reason)
	u.wrong++
	s.askAgain(u, problem, passwordPrompt, u.wrong < maxWrong)
}

// askAgain says what was wrong with an answer, and asks once more, or ends the connection.
func (s *server) askAgain(u *user, problem, prompt string, mayTry bool) {
	if mayTry {
		s.tell(u, problem+prompt)
	} else {
		s.tell(u, problem+"! too many attempts\n")
		s.dismiss(u, "refused")
	}
}

// handleChat takes a line as a message or a command.
func (s *server) handleChat(u *user, line string) {
	if problem := checkLine(line); problem != "" {
		s.logRefusal(u, "line")
		s.tell(u, problem)
	} else if isCommand(line) {
		s.handleCommand(u, line)
	} else if trim(line) != "" {
		s.say(u.name, messageText(line), u)
	}
}

// handleCommand carries out a command.
func (s *server) handleCommand(u *user, line string) {
	word, rest := splitCommand(line)
	if command := s.findCommand(word); command != nil {
		command(s, u, rest)
	} else {
		s.tell(u, unknownCommand(word))
	}
}

// giveTurn has a user heard when all before it have been.
func (s *server) giveTurn(u *user) {
	if !u.inTurns {
		u.inTurns = true
		s.turns = append(s.turns, u)
	}
}

// takeUp acts on a user's whole lines, while it and this round can bear what comes of them.
func (s *server) takeUp(u *user) {
	for s.maySpeak(u) && s.mayHear() && s.payLine(u) {
		line, ok := u.inbox.takeLine()
		if !ok {
			s.heardAll(u)
			return
		}
		s.load += int64(len(line)) + 1
		s.noteReply(u, func() { s.handleLine(u, line) })
	}
	if u.throttled || u.busy {
		u.inbox.keep()
	}
	s.touch(u) // after its flush it is seen whether it may go on
}

// noteReply acts on a line of a user's, or on what came of one, and notes how much that brought it.
func (s *server) noteReply(u *user, act func()) {
	before := u.extra
	act()
	u.reply = max(0, u.extra-before)
}

// heardAll goes on with a user whose whole lines are acted on: there are more to come, or none.
func (s *server) heardAll(u *user) {
	if u.ended {
		s.retire(u, "eof")
	} else {
		u.inbox.release()
	}
}

// maySpeak tells whether a user's lines are taken up.
//
// They are not while much waits for it: its own commands shall not drop it (LIMIT-1), and a user
// who does not read, but floods, shall not keep the stream in memory. Nor are they while a worker
// has a job of its: what it asked first is answered first.
func (s *server) maySpeak(u *user) bool {
	half := int64(s.maxQueue / 2)
	switch {
	case u.busy:
		return false
	case u.phase == naming || u.phase == proving:
		return true
	}
	return u.phase == chatting && !u.throttled && s.waiting(u) <= half && s.behind(u) <= half
}

// payLine takes the price of a user's next line from its allowance; one that cannot pay must wait
// (LIMIT-5).
func (s *server) payLine(u *user) bool {
	if s.rate == 0 || u.phase != chatting || !u.inbox.hasLine() {
		return true
	}
	now := time.Now()
	u.allowance = min(u.allowance+now.Sub(u.reckoned), time.Second)
	u.reckoned = now
	if u.allowance < s.price() {
		s.throttle(u)
		return false
	}
	u.allowance -= s.price()
	return true
}

// price is what a line costs.
func (s *server) price() time.Duration {
	return time.Second / time.Duration(s.rate)
}

// dueTime tells when a user who is throttled can pay for its next line.
func (s *server) dueTime(u *user) time.Time {
	return u.reckoned.Add(s.price() - u.allowance)
}

// throttle has a user wait until its next line is due. That is mostly later than for all others.
func (s *server) throttle(u *user) {
	u.throttled = true
	at, _ := slices.BinarySearchFunc(s.throttled, s.dueTime(u), func(v *user, due time.Time) int {
		return s.dueTime(v).Compare(due)
	})
	s.throttled = slices.Insert(s.throttled, at, u)
	if at == 0 {
		s.setAlarm()
	}
}

// setAlarm has the owner take up the first line that is due, when it is.
func (s *server) setAlarm() {
	if s.alarm != nil {
		s.alarm.Stop()
	}
	if len(s.throttled) > 0 {
		after := time.Until(s.dueTime(s.throttled[0]))
		s.alarm = time.AfterFunc(after, func() { s.events <- s.takeDue })
	}
}

// takeDue hears those whose next line is due.
func (s *server) takeDue() {
	now := time.Now()
	for len(s.throttled) > 0 && !s.dueTime(s.throttled[0]).After(now) {
		u := s.throttled[0]
		s.throttled = s.throttled[1:]
		u.throttled = false
		s.resume(u)
	}
	s.setAlarm()
}

// resume hears a user whose lines have waited, if it is still there. It may not have been read from
// meanwhile: then nothing else would tell.
func (s *server) resume(u *user) {
	switch {
	case u.isReset():
		s.drop(u, "reset")
		return
	case s.isPresent(u) && u.isEnding():
		s.limitLines(u)
	}
	s.giveTurn(u)
}

// ---------------------------------------------------------------------------------------------
// 11. Console
// ---------------------------------------------------------------------------------------------

const opHelpText = "Commands: /help, /who, /kick NAME, /shutdown" +
	" (// to begin an announcement with /)\n"

// opHelp is /help: the operator's commands.
func (s *server) opHelp(_ string) {
	s.printLine(opHelpText)
}

// opWho is /who: all in the room.
func (s *server) opWho(_ string) {
	s.printLine(s.whoLines())
}

// opKick is /kick NAME: someone has to go.
func (s *server) opKick(rest string) {
	name := trim(rest)
	u := s.find(name)
	switch {
	case name == "":
		s.printLine("! usage: /kick NAME\n")
	case u == nil:
		s.printLine("! no such user: " + name + "\n")
	default:
		s.tell(u, "! kicked by the operator\n")
		s.dismiss(u, "kick")
	}
}

// opShutdown is /shutdown: the end for all.
func (s *server) opShutdown(_ string) {
	s.mustStop = true
}

var opCommands = map[string]func(s *server, rest string){
	"help":     (*server).opHelp,
	"who":      (*server).opWho,
	"kick":     (*server).opKick,
	"shutdown": (*server).opShutdown,
}

// consoleLine acts on one line of the operator's: an announcement or a command.
func (s *server) consoleLine(line string) {
	if problem := checkLine(line); problem != "" {
		s.printLine(problem)
	} else if isCommand(line) {
		s.consoleCommand(line)
	} else if trim(line) != "" {
		s.say("server", messageText(line), nil)
	}
}

// consoleCommand carries out a command of the operator's.
func (s *server) consoleCommand(line string) {
	word, rest := splitCommand(line)
	if command, ok := opCommands[lower(word)]; ok {
		command(s, rest)
	} else {
		s.printLine(unknownCommand(word))
	}
}

// ---------------------------------------------------------------------------------------------
// 12. Sockets
// ---------------------------------------------------------------------------------------------

// accept brings newcomers to the owner. It is one goroutine, and ends when the listener is closed.
func (s *server) accept() {
	isTroubled := false
	for {
		conn, err := s.listener.AcceptTCP()
		switch {
		case err == nil:
			s.events <- func() { s.greet(conn) }
		case errors.Is(err, net.ErrClosed):
			return
		case !isTroubled:
			s.events <- func() { s.logError("cannot accept connections: " + reason(err)) }
		}
		isTroubled = err != nil
		if isTroubled { // out of descriptors or memory: it asks again, but not all the time (LIMIT-3)
			time.Sleep(acceptPause)
		}
	}
}

// buffers are lent to the connections that something comes from.
var buffers = sync.Pool{New: func() any { return new([readSize]byte) }}

// read brings what comes from a user to the owner, and waits each time until that is acted on. It
// is one goroutine for each connection, and ends when that does: the error is its last event.
func (s *server) read(u *user) {
	room := readSize
	for {
		data, err := u.receive(room)
		s.events <- func() { s.received(u, data, err) }
		if err != nil {
			return
		}
		room = <-u.inbox.readOn
	}
}

// receive waits until something comes from a user, and takes it into a buffer. While it waits it
// has none, so that a silent user costs little.
func (u *user) receive(room int) (data []byte, err error) {
	var refused error
	err = u.raw.Read(func(socket uintptr) bool {
		buffer := buffers.Get().(*[readSize]byte)
		var n int
		if n, refused = syscall.Read(int(socket), buffer[:room]); n > 0 {
			data = buffer[:n]
			return true
		}
		buffers.Put(buffer)
		return refused != syscall.EAGAIN
	})
	switch {
	case err != nil:
		return nil, err
	case refused == nil && data == nil:
		return nil, io.EOF
	}
	return data, refused
}

// isReset tells whether a connection is reset. (Where nothing is read from it, nothing else would.)
func (u *user) isReset() bool {
	problem, err := u.getOption(syscall.SOL_SOCKET, syscall.SO_ERROR)
	return err != nil || problem != 0
}

// isEnding tells whether a client has ended its side, though not all before that is read yet. The
// state of the connection is the first byte of TCP_INFO.
func (u *user) isEnding() bool {
	const closeWait = 8
	info, err := u.getOption(syscall.IPPROTO_TCP, syscall.TCP_INFO)
	return err == nil && info&0xff == closeWait
}

// getOption asks the kernel for a number about a connection.
func (u *user) getOption(level, name int) (number int, err error) {
	var refused error
	err = u.raw.Control(func(socket uintptr) {
		number, refused = syscall.GetsockoptInt(int(socket), level, name)
	})
	if err == nil {
		err = refused
	}
	return number, err
}

// await sends to a user as soon as the kernel takes more, and tells the owner how much that was. It
// is at most one goroutine for each connection, there only while the kernel has enough for it, and
// ends when something is sent, when hurry says so, or when the connection is closed.
func (s *server) await(u *user, data []byte) {
	n, err := u.write(data, true)
	s.events <- func() { s.wrote(u, n, err) }
}

// write sends to a user as much of the data as the kernel takes at once, and tells how much that
// was. Where that is nothing, it waits, if it shall.
func (u *user) write(data []byte, wait bool) (int64, error) {
	var n int
	var refused error
	err := u.raw.Write(func(socket uintptr) bool {
		n, refused = syscall.Write(int(socket), data)
		return refused != syscall.EAGAIN || !wait
	})
	if err == nil && refused != syscall.EAGAIN {
		err = refused
	}
	return int64(max(0, n)), err
}

// greet asks a newcomer for its name, if there is room.
func (s *server) greet(conn *net.TCPConn) {
	raw, _ := conn.SyscallConn() // fails only for a connection that is none
	u := &user{conn: conn, raw: raw, inbox: inbox{readOn: make(chan int, 1)}}
	isFull := len(s.joining)+len(s.users) >= s.maxClients
	s.joining[u] = struct{}{}
	s.logEvent(slog.LevelInfo, "connect", slog.Any("addr", u))
	switch {
	case s.stopping: // the acceptor had it already when the door was closed
		s.tell(u, shutdown)
		s.dismiss(u, "shutdown")
	case isFull:
		s.logRefusal(u, "full")
		s.tell(u, "! server full\n")
		s.dismiss(u, "full")
	default:
		s.tell(u, namePrompt)
		s.setDeadline(u, s.joinTimeout)
	}
	go s.read(u)
}

// received takes what has come from a user; it is acted on when its turn comes. The end of the
// connection comes alone, and when all before it has been acted on or is kept: read waits for that.
func (s *server) received(u *user, data []byte, err error) {
	switch {
	case err == io.EOF:
		s.hangUp(u)
	case err != nil:
		s.drop(u, "reset")
	default:
		u.inbox.put(data)
		if s.isPresent(u) {
			s.giveTurn(u)
		} else {
			u.inbox.release()
		}
	}
}

// isPresent tells whether what a user says counts.
func (s *server) isPresent(u *user) bool {
	return u.phase == naming || u.phase == proving || u.phase == chatting
}

// flush sends what waits for a user, and sees how it stands then.
func (s *server) flush(u *user) {
	switch {
	case u.phase == gone:
		return
	case !u.awaited:
		s.send(u)
	case s.isBehind(u):
		s.hurry(u)
	}
	if (u.inbox.held || u.inbox.hasLine()) && s.maySpeak(u) {
		s.giveTurn(u)
	}
}

// send sends what waits for a user, as far as the kernel takes it now.
func (s *server) send(u *user) {
	u.advance(0)
	for _, piece := range s.pieces(u) {
		n, err := u.write(piece, false)
		if err != nil {
			s.drop(u, "reset")
			return
		}
		u.advance(n)
		if n < int64(len(piece)) {
			break
		}
	}
	switch {
	case s.isBehind(u):
		s.drop(u, "slow")
	case s.waiting(u) > 0:
		u.awaited = true
		go s.await(u, s.pieces(u)[0])
	case u.phase == leaving:
		s.endSending(u)
	}
}

// isBehind tells whether more waits for a user than may (LIMIT-1). What its own last line brought
// it is not held against it.
func (s *server) isBehind(u *user) bool {
	return u.phase == chatting && s.waiting(u) > int64(s.maxQueue)+u.reply
}

// hurry has await end, so that a user who is behind is given one more chance before it is dropped:
// it may be only that await has not come to run since the kernel would take more.
func (s *server) hurry(u *user) {
	u.conn.SetWriteDeadline(time.Now())
}

// wrote takes note of what await has sent to a user.
func (s *server) wrote(u *user, sent int64, err error) {
	u.awaited = false
	u.conn.SetWriteDeadline(time.Time{})
	u.advance(sent)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		s.drop(u, "reset")
	}
	s.touch(u)
}

// dismiss ends a connection kindly: its queue goes out first (LEAVE-4).
func (s *server) dismiss(u *user, reason string) {
	s.retire(u, reason)
	s.setDeadline(u, lingerTime)
}

// hangUp takes note that a client has ended its side: the lines that its rate or a worker held back
// are still acted on, and its queue goes out (LEAVE-2).
func (s *server) hangUp(u *user) {
	u.ended = true
	switch u.phase {
	case naming, proving, chatting:
		s.limitLines(u)
		if !u.busy && !u.inbox.hasLine() {
			s.retire(u, "eof")
		}
	case lingering:
		s.drop(u, "eof")
	}
	s.touch(u)
}

// limitLines has the time run for the lines of a client that has ended its side, and for its queue,
// unless the time to join is over sooner.
func (s *server) limitLines(u *user) {
	if !u.ending && (u.phase == chatting || time.Until(u.deadline) > drainTime) {
		u.ending = true
		s.setDeadline(u, drainTime)
	}
}

// retire takes a user out of the room, or from the prompt; nothing that it says counts any more.
func (s *server) retire(u *user, reason string) {
	if u.phase == chatting {
		s.leave(u, reason)
	}
	delete(s.joining, u)
	s.depart(u)
}

// depart has a user go as soon as its queue is out.
func (s *server) depart(u *user) {
	u.phase = leaving
	s.departing[u] = struct{}{}
	u.inbox.release()
	s.touch(u)
}

// endSending ends our side of a connection, now that its queue is out.
func (s *server) endSending(u *user) {
	if u.ended || u.conn.CloseWrite() != nil {
		s.drop(u, "eof")
	} else {
		u.phase = lingering
	}
}

// drop ends a connection now, whatever waits for it.
func (s *server) drop(u *user, reason string) {
	if u.phase == gone {
		return
	}
	if u.phase == chatting {
		s.leave(u, reason)
	}
	delete(s.joining, u)
	delete(s.departing, u)
	u.phase = gone
	s.gone = append(s.gone, u)
}

// reap closes the connections of those who are gone, which ends their goroutines.
func (s *server) reap() {
	if len(s.gone) > 0 {
		s.forgetJobs()
	}
	for _, u := range s.gone {
		u.conn.Close()
		u.inbox.release()
		if u.timer != nil {
			u.timer.Stop()
		}
	}
	s.gone = nil
}

// setDeadline has the owner look at a user after a time. The timer's goroutine ends with that.
func (s *server) setDeadline(u *user, after time.Duration) {
	if u.timer != nil {
		u.timer.Stop()
	}
	u.deadline = time.Now().Add(after)
	u.timer = time.AfterFunc(after, func() { s.events <- func() { s.expire(u) } })
}

// expire sees to a user whose time is up, unless it was given more since the timer ran out.
func (s *server) expire(u *user) {
	if time.Now().Before(u.deadline) {
		return
	}
	switch {
	case s.isPresent(u) && u.ending:
		s.dismiss(u, "eof")
	case u.phase == naming || u.phase == proving: // else it has joined just before
		s.logRefusal(u, "timeout")
		s.tell(u, u.lineEnd()+"! timed out\n")
		s.dismiss(u, "timeout")
	case u.phase == leaving || u.phase == lingering:
		s.drop(u, "timeout")
	}
}

// lineEnd ends the line of the prompt that is pending; while a worker is busy none is.
func (u *user) lineEnd() string {
	if u.busy {
		return ""
	}
	return "\n"
}

// ---------------------------------------------------------------------------------------------
// 13. Loop
// ---------------------------------------------------------------------------------------------

// run serves until the server is stopped and everyone is gone, or the time for that is up. All of
// the server's methods, except those that say otherwise, are called by its goroutine alone.
func (s *server) run() {
	for !s.isOver() {
		s.oneRound()
	}
}

// isOver tells whether all is done.
func (s *server) isOver() bool {
	return s.timeIsUp || s.stopping && len(s.departing) == 0
}

// oneRound waits for something to do, does it, and sends everyone what came of it.
func (s *server) oneRound() {
	if s.isIdle() {
		act := <-s.events
		act()
	}
	runtime.Gosched() // whoever has something for us brings it first: all of it is sent at once
	for n := 0; n < eventBatch && s.handleEvent(); n++ {
	}
	s.takeTurns()
	if s.mustStop && !s.stopping {
		s.stop()
	}
	s.flushAll()
	s.reap()
	s.flushSinks()
	s.awaitDisk()
}

// isIdle tells whether nothing can be done before the next event.
func (s *server) isIdle() bool {
	return len(s.turns) == 0 && !s.console.held
}

// handleEvent acts on the next event, if there is one already.
func (s *server) handleEvent() bool {
	select {
	case act := <-s.events:
		act()
		return true
	default:
		return false
	}
}

// takeTurns hears those who may have lines, one after the other; who is not reached is first next
// time.
func (s *server) takeTurns() {
	s.takeConsole()
	for len(s.turns) > 0 && s.mayHear() {
		u := s.turns[0]
		s.turns = s.turns[1:]
		u.inTurns = false
		s.takeUp(u)
	}
}

// takeConsole acts on what the operator has typed.
func (s *server) takeConsole() {
	for s.console.held && s.mayHear() && !s.mustStop {
		line, ok := s.console.takeLine()
		if !ok {
			s.console.release()
			return
		}
		s.consoleLine(line)
	}
}

// mayHear tells whether this round can bear more. When it is full all must first be sent what came
// of it: otherwise one who reads well could be dropped, for having been given no chance to, and a
// flood would hold up those who wait for their lines.
func (s *server) mayHear() bool {
	bound := int64(min(roundSize, s.maxQueue/2))
	return s.load <= bound || s.stopping
}

// flushAll flushes all for whom something waits: the room, where it spoke, and the pending.
func (s *server) flushAll() {
	for len(s.pending) > 0 || s.flushed < s.end {
		if s.flushed < s.end {
			for _, u := range s.users {
				s.touch(u)
			}
		}
		s.flushed = s.end
		users := s.pending
		s.pending = nil
		for _, u := range users {
			u.pending = false
			s.flush(u)
		}
	}
	s.load = 0
}

// ---------------------------------------------------------------------------------------------
// 14. Start and stop
// ---------------------------------------------------------------------------------------------

const usage = `usage: chat-server [--host HOST] [--port PORT] [--max-clients N] [--max-queue BYTES]
                   [--join-timeout SECONDS] [--rate N] [--log FILE] [--accounts FILE]
                   [--members-only] [--quiet] [--help] [--version]
`

var optionsHelp = fmt.Sprintf(usage+`
A chat server: one room, lines of text over TCP.
Nothing is encrypted, passwords neither. On a network that is not yours, put an SSH tunnel
or a TLS proxy before it (README.md tells how).

  --host HOST             address to listen on (default %s)
  --port PORT             port to listen on; 0 picks a free one (default %d)
  --max-clients N         connections at a time (default %d)
  --max-queue BYTES       bytes that may wait for one user before it is dropped;
                          4096 or more (default %d)
  --join-timeout SECONDS  time to give a name, and its password (default %g)
  --rate N                lines a second that are taken up from one user
                          (default: as many as come)
  --log FILE              append what happens to FILE, a JSON object a line; SIGHUP
                          opens it anew (default: no log)
  --accounts FILE         names that need a password: a file as `+"`htpasswd -B`"+` makes it
  --members-only          let in nobody else
  --quiet                 do not print what the room sees (default: print it)
  --help                  print this and exit
  --version               print the version and exit

Lines on standard input are announced to all; /help there lists the operator's commands.
`, defaultHost, defaultPort, maxClients, maxQueue, joinTime.Seconds())

const versionLine = "chat-server " + version + " (Go, protocol 1)\n"

// fail ends the program before it has begun.
func fail(status int, message string) {
	fmt.Fprint(os.Stderr, message)
	os.Exit(status)
}

// usageError ends the program for a command line that is wrong.
func usageError(message string) {
	fail(2, usage+"chat-server: error: "+message+"\n")
}

// answer prints what --help or --version asks for.
func answer(text string) {
	fmt.Print(text)
	os.Exit(0)
}

var (
	wholeNumber   = regexp.MustCompile(`^[0-9]{1,9}$`)
	decimalNumber = regexp.MustCompile(`^[0-9]{1,9}(\.[0-9]{1,9})?$`)
)

const maxNumber = 999_999_999

// setWhole sets a whole number of one to nine digits, if the text is a good one.
func setWhole(target *int, text string, low, high int) bool {
	n, _ := strconv.Atoi(text)
	*target = n
	return wholeNumber.MatchString(text) && low <= n && n <= high
}

// setSeconds sets a time above 0, if the text is a good one.
func setSeconds(target *time.Duration, text string) bool {
	*target, _ = time.ParseDuration(text + "s")
	return decimalNumber.MatchString(text) && *target > 0
}

// values has what sets each option that takes a value, and tells whether the value is good.
var values = map[string]func(o *options, value string) bool{
	"--host":         func(o *options, v string) bool { o.host = v; return true },
	"--port":         func(o *options, v string) bool { return setWhole(&o.port, v, 0, 65535) },
	"--max-clients":  func(o *options, v string) bool { return setWhole(&o.maxClients, v, 1, maxNumber) },
	"--max-queue":    func(o *options, v string) bool { return setWhole(&o.maxQueue, v, 4096, maxNumber) },
	"--join-timeout": func(o *options, v string) bool { return setSeconds(&o.joinTimeout, v) },
	"--rate":         func(o *options, v string) bool { return setWhole(&o.rate, v, 1, maxNumber) },
	"--log":          func(o *options, v string) bool { o.log, o.hasLog = v, true; return true },
	"--accounts":     func(o *options, v string) bool { o.accountsFile, o.hasAccounts = v, true; return true },
}

// parseOptions reads the command line; the first word that asks for help or is wrong ends the
// program.
func parseOptions(words []string) options {
	o := options{
		host:        defaultHost,
		port:        defaultPort,
		maxClients:  maxClients,
		maxQueue:    maxQueue,
		joinTimeout: joinTime,
	}
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		switch word {
		case "--help":
			answer(optionsHelp)
		case "--version":
			answer(versionLine)
		case "--members-only":
			o.membersOnly = true
		case "--quiet":
			o.quiet = true
		default:
			words = setOption(&o, word, words)
		}
	}
	if o.membersOnly && !o.hasAccounts {
		usageError("--members-only needs --accounts")
	}
	return o
}

// setOption sets the option that a word begins, or ends the program; it gives the words after it.
func setOption(o *options, word string, rest []string) []string {
	name, value, joined := strings.Cut(word, "=")
	set, known := values[name]
	switch {
	case !known && strings.HasPrefix(word, "-"):
		usageError("unknown option: " + word)
	case !known:
		usageError("not an option: " + word)
	case joined:
		rest = append([]string{value}, rest...)
	case len(rest) == 0:
		usageError("no value for " + name)
	default:
		word += " " + rest[0]
	}
	if !set(o, rest[0]) {
		usageError("bad value: " + word)
	}
	return rest[1:]
}

// openDoor has the server listen, and says so, or ends the program.
func (s *server) openDoor() {
	address := net.JoinHostPort(s.host, strconv.Itoa(s.port))
	listener, err := listenOn(address)
	if err != nil {
		fail(1, fmt.Sprintf("cannot listen on %s: %s\n", address, reason(err)))
	}
	s.listener = listener
	s.logServer("start")
	s.printLine(fmt.Sprintf("Listening on %s\n", listener.Addr()))
	s.flushSinks()
}

// listenOn opens a door, at the first IPv4 address that the host has, else at its first: that is
// how ResolveTCPAddr chooses. Every connection inherits the options that are set here; package net
// sets TCP_NODELAY on each, and package os has raised the limit of descriptors (LIMIT-2).
func listenOn(hostAndPort string) (*net.TCPListener, error) {
	address, err := net.ResolveTCPAddr("tcp", hostAndPort)
	if err != nil {
		return nil, err
	}
	network := "tcp"
	if address.IP.To4() != nil {
		network = "tcp4" // or 0.0.0.0 would mean all of IPv6 too
	}
	config := net.ListenConfig{KeepAlive: -1, Control: noticeVanishing}
	config.SetMultipathTCP(false) // connections would not inherit all, and it is no use here
	listener, err := config.Listen(context.Background(), network, address.String())
	if err != nil {
		return nil, err
	}
	return listener.(*net.TCPListener), nil
}

// noticeVanishing has a peer that is cut off noticed within two minutes (LEAVE-5). It is only a
// wish: a system that has no such option serves all the same.
func noticeVanishing(_, _ string, socket syscall.RawConn) error {
	const userTimeout = 18 // TCP_USER_TIMEOUT, which package syscall lacks
	return socket.Control(func(socket uintptr) {
		syscall.SetsockoptInt(int(socket), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1)
		syscall.SetsockoptInt(int(socket), syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 60)
		syscall.SetsockoptInt(int(socket), syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 15)
		syscall.SetsockoptInt(int(socket), syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 4)
		syscall.SetsockoptInt(int(socket), syscall.IPPROTO_TCP, userTimeout, 120_000)
	})
}

// reason gives the heart of an error of package net, which names the operation and the address too.
func reason(err error) string {
	var number syscall.Errno
	var lookup *net.DNSError
	switch {
	case errors.As(err, &number):
		return number.Error()
	case errors.As(err, &lookup):
		return lookup.Err
	}
	return err.Error()
}

// ignoreSignals has the system tell of some things by an error alone.
func ignoreSignals() {
	signal.Ignore(syscall.SIGPIPE) // a write to a closed standard output fails, and that is all
	signal.Ignore(syscall.SIGXFSZ) // as does one to a log that is as large as it may be
	signal.Ignore(syscall.SIGTTIN) // in the background, reading the terminal fails
}

// catchSignals gives a channel that is closed at the first signal to stop. A second one ends the
// process (STOP-5): that is what its goroutine waits for, to the end. SIGHUP is such a signal where
// there is no log.
func catchSignals(hasLog bool) <-chan struct{} {
	first := make(chan struct{})
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if !hasLog && !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		<-signals
		close(first)
		<-signals
		os.Exit(1)
	}()
	return first
}

// catchHangUps gives a channel of the signals to open the log anew.
func catchHangUps() <-chan os.Signal {
	hangUps := make(chan os.Signal, 1)
	signal.Notify(hangUps, syscall.SIGHUP)
	return hangUps
}

// awaitHangUp opens the log anew at each such signal, and hands it to the owner. It is one
// goroutine, to the end.
func (s *server) awaitHangUp(hangUps <-chan os.Signal) {
	for range hangUps {
		file, err := openLog(s.log)
		s.events <- func() { s.reopenLog(file, err) }
	}
}

// awaitSignal tells the owner of the signal to stop. It is one goroutine, and ends with that.
func (s *server) awaitSignal(first <-chan struct{}) {
	<-first
	s.events <- func() { s.mustStop = true }
}

// readConsole brings what the operator types to the owner, as read does what a user sends. It is
// one goroutine, and ends with standard input; a line that is not whole then is none.
func (s *server) readConsole() {
	for {
		buffer := buffers.Get().(*[readSize]byte)
		n, err := os.Stdin.Read(buffer[:])
		if err != nil {
			return
		}
		s.events <- func() { s.console.put(buffer[:n]) }
		<-s.console.readOn
	}
}

// stop begins the end: says so to everyone, after all that was said before, and dismisses them.
func (s *server) stop() {
	s.stopping = true
	s.listener.Close()
	time.AfterFunc(lingerTime, func() { s.events <- func() { s.timeIsUp = true } })
	for s.handleEvent() { // what was received before the signal comes before the notice
	}
	s.takeTurns()
	s.logServer("shutdown")
	s.broadcast(shutdown, nil)
	for u := range s.joining {
		s.tell(u, u.lineEnd()+shutdown)
		s.dismiss(u, "shutdown")
	}
	for _, u := range s.users {
		s.depart(u) // without leave: no notices, and nothing follows in the stream
	}
	clear(s.users)
}

func newServer(o options) *server {
	complaints := &sink{name: "standard error", file: os.Stderr}
	return &server{
		options:   o,
		events:    make(chan func(), eventBatch),
		joining:   make(map[*user]struct{}),
		users:     make(map[string]*user),
		departing: make(map[*user]struct{}),
		tail:      newBlock(0),
		console:   inbox{readOn: make(chan int, 1)},
		output:    &sink{name: "standard output", file: os.Stdout, lost: complaints},
		errors:    complaints,
	}
}

func main() {
	ignoreSignals()
	o := parseOptions(os.Args[1:])
	s := newServer(o)
	stopSignals := catchSignals(o.hasLog)
	if o.hasAccounts {
		s.startAccounts()
	}
	if o.hasLog {
		s.startLog()
	}
	s.openDoor()
	go s.accept()
	go s.awaitSignal(stopSignals)
	go s.readConsole()
	s.run()
	s.logServer("stop")
	s.writeRest()
}
