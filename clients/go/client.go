// Command client is a chat client for a terminal or a pipe. PROTOCOL.md is its contract.
//
//	go run client.go                connects to localhost:8080
//	go run client.go --help         tells the rest
//
// The two ways of a line:
//
//	keyboard -> outbox -> server
//	server -> screen
//
// and of a connection, where one that is lost is tried again:
//
//	asked -> joined -> away -> returning -> joined
//
// What holds everywhere:
//
//  1. One goroutine, run's, owns everything. All that may wait for long is done by others, which
//     only tell it: a server that does not read, or a terminal that is held up, does not keep
//     the other direction, or Ctrl+C, from working. It waits itself, for a while, where a
//     connection is made again or ended.
//  2. What waits is bounded: where it is too much, its source is not read.
//  3. Nothing from the server reaches the screen unless it was made harmless (show).
//  4. A typed line leaves the outbox once all of it is sent, and what was typed while there was
//     no connection (kept) enters it once the server has welcomed us: never at a prompt.
//
// Exit status: 0 ended by the user, or by the server in peace; 1 the connection failed or was
// refused; 2 the command line is wrong.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode/utf8"
)

// ---------------------------------------------------------------------------------------------
// 1. Limits
// ---------------------------------------------------------------------------------------------

const (
	version      = "0.1.0"
	defaultHost  = "localhost"
	defaultPort  = 8080
	maxWaiting   = 64 * 1024        // bytes that may wait in one direction; then its source does
	readSize     = 64 * 1024        // bytes read in one go
	lineKept     = 128              // bytes kept of a server's line: more than any with a meaning
	longLine     = 1025             // bytes that no server takes as one line
	maxAnswers   = 8                // to prompts on one connection: no server asks more often
	closeTime    = time.Second      // for the server to end its side, once we have ended ours
	tryTime      = 30 * time.Second // to connect; and for the welcome, on the way back
	retries      = 10
	retryTime    = time.Second
	maxRetryTime = 30 * time.Second
)

const (
	prompt         = "Enter your screen name: "
	passwordPrompt = "Password: "
	goodEnding     = "Server is shutting down"
	goodbye        = "Goodbye, "
)

var (
	welcome         = regexp.MustCompile(`^Welcome, ([A-Za-z0-9_-]+) \(`)
	renamed         = regexp.MustCompile(`^([A-Za-z0-9_-]+) is now known as ([A-Za-z0-9_-]+)$`)
	passwordCommand = regexp.MustCompile(`^/(?i:register|passwd) +(.+)$`)
)

var badEndings = []string{
	"! too many attempts",
	"! timed out",
	"! server full",
	"! kicked by the operator",
}

// ---------------------------------------------------------------------------------------------
// 2. Types
// ---------------------------------------------------------------------------------------------

// A phase is where the client is with the server.
type phase int

const (
	asked     phase = iota // connected, and never welcomed yet: the user answers the prompts
	joined                 // welcomed
	away                   // the connection is lost, and the next try is not due yet
	returning              // connected again: what we remember answers the prompts
)

type options struct {
	host       string
	port       int
	answer     string // to the prompt: the name, with its line end; empty where the user is asked
	retries    int
	retryDelay time.Duration
}

// A link is one connection, and what is known of it.
type link struct {
	conn  *net.TCPConn
	heard chan []byte   // what the server sends; closed at the end, after reset is set
	reset bool          // that was no end in order
	done  chan struct{} // closed when what the server sends is not wanted any more
	stop  func()        // closes it

	sending bool // some of the outbox is being sent
	sent    int  // bytes of the outbox that were: the beginning of a line
	sentAll bool // the input has ended, and so has, in order, our side
	broken  bool // the server takes no more, or has reset the connection
	ended   bool // nothing more comes from the server, or shall come

	line     []byte   // what the server's last line has so far
	lastLine string   // its last whole one; both without prompts, and cut at lineKept
	prompts  int      // how often it has asked
	asked    string   // its last prompt
	answers  [][]byte // the first lines typed, until the welcome
	named    bool     // the answer that --name gives was given
	held     []byte   // what came and is not shown, before it is seen what follows
}

// A client is everything. It is touched by run's goroutine alone.
type client struct {
	options options
	link    *link  // the connection; away: the last one
	answer  string // to the prompt for the name, by --name, until it is refused
	phase   phase

	keyboard   chan []byte  // what is typed; closed at its end
	wrote      chan written // how much of the outbox was sent
	outbox     []byte       // from the keyboard, for the server
	kept       []byte       // ... and typed while there was none
	typed      []byte       // the line that is passed on, cut
	unfinished bool         // the last line of the input is not whole yet
	forgets    bool         // ... and is for nobody
	typedAll   bool         // the input has ended

	screen  []byte     // for standard output
	showing bool       // some of it is being written
	shown   chan error // how that went

	name     string // the one we have, or last had; empty before the first welcome
	password []byte // the one that was accepted; nil where none was
	offered  []byte // one that a command has in it, until the server agrees
	tries    int    // since the last welcome
	delay    time.Duration
	deadline time.Time // away: for the next try; returning: for its end
}

// written says how a part of the outbox was sent.
type written struct {
	n   int
	err error
}

func newClient(o options, conn *net.TCPConn) *client {
	return &client{
		options:  o,
		link:     newLink(conn),
		answer:   o.answer,
		keyboard: make(chan []byte),
		wrote:    make(chan written, 1),
		shown:    make(chan error, 1),
	}
}

func newLink(conn *net.TCPConn) *link {
	l := &link{conn: conn, heard: make(chan []byte), done: make(chan struct{})}
	l.stop = sync.OnceFunc(func() { close(l.done) })
	go l.hear()
	return l
}

// ---------------------------------------------------------------------------------------------
// 3. Screen
// ---------------------------------------------------------------------------------------------

// show puts what came on the screen, made harmless (CLIENT-6). What cannot be judged yet, the
// beginning of a character or a carriage return, is held back; last says that nothing follows.
// utf8.RuneError is U+FFFD.
func (c *client) show(data []byte, last bool) {
	data = append(c.link.held, data...)
	for utf8.FullRune(data) && (len(data) > 1 || data[0] != '\r') {
		if bytes.HasPrefix(data, []byte("\r\n")) {
			data = data[1:]
		}
		r, size := utf8.DecodeRune(data) // what is not UTF-8 is an error too
		if isControl(r) && r != '\n' {
			r = utf8.RuneError
		}
		c.screen = utf8.AppendRune(c.screen, r)
		data = data[size:]
	}
	if last && len(data) > 0 {
		c.screen, data = utf8.AppendRune(c.screen, utf8.RuneError), nil
	}
	c.link.held = bytes.Clone(data)
}

// writeScreen has what waits for standard output written, if that was done with what was before.
func (c *client) writeScreen() {
	if c.showing || len(c.screen) == 0 {
		return
	}
	text := c.screen
	c.screen, c.showing = nil, true
	go func() {
		_, err := os.Stdout.Write(text)
		c.shown <- err
	}()
}

// hasShownAll tells whether the screen is done with all that came: what we say is to follow it.
func (c *client) hasShownAll() bool {
	return !c.showing && len(c.screen) == 0
}

// isControl tells whether a character is one of C0 except TAB, DEL and C1, or of those that break
// a line or turn its direction on the screen.
func isControl(r rune) bool {
	return r < ' ' && r != '\t' || r >= 0x7f && r <= 0x9f ||
		r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// complain says something on standard error.
func complain(message string) {
	fmt.Fprint(os.Stderr, message) // where that is closed, nobody can be told
}

// ---------------------------------------------------------------------------------------------
// 4. Connection
// ---------------------------------------------------------------------------------------------

// connectTo connects to the first address of a host that answers: that is what package net does.
// It sets TCP_NODELAY as well.
func connectTo(ctx context.Context, address string) (*net.TCPConn, error) {
	dialer := net.Dialer{Timeout: tryTime, KeepAlive: -1, Control: noticeVanishing}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// noticeVanishing makes the system notice within two minutes that a server has vanished.
func noticeVanishing(_, _ string, raw syscall.RawConn) error {
	const userTimeout = 18 // TCP_USER_TIMEOUT, which package syscall lacks
	return raw.Control(func(socket uintptr) {
		syscall.SetsockoptInt(int(socket), syscall.SOL_SOCKET, syscall.SO_KEEPALIVE, 1)
		syscall.SetsockoptInt(int(socket), syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE, 60)
		syscall.SetsockoptInt(int(socket), syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL, 15)
		syscall.SetsockoptInt(int(socket), syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT, 4)
		syscall.SetsockoptInt(int(socket), syscall.IPPROTO_TCP, userTimeout, 120000)
	})
}

// hear reads what the server sends, and hands it over, until the end or until nobody wants it. It
// has its own goroutine.
func (l *link) hear() {
	defer close(l.heard)
	buffer := make([]byte, readSize)
	for {
		n, err := l.conn.Read(buffer)
		if n > 0 {
			select {
			case l.heard <- bytes.Clone(buffer[:n]):
			case <-l.done:
				return
			}
		}
		if err != nil {
			l.reset = err != io.EOF
			return
		}
	}
}

// sendTyped has what was typed sent, if that was done with what was before; after the end of input
// it ends our side.
func (c *client) sendTyped() {
	l := c.link
	if c.hasUnsent() && !l.sending {
		data := bytes.Clone(c.outbox[l.sent:])
		l.sending = true
		go func() {
			n, err := l.conn.Write(data)
			c.wrote <- written{n, err}
		}()
	}
	if c.hasSaidAll() {
		l.broken = l.conn.CloseWrite() != nil
		l.sentAll = !l.broken
	}
}

// onWritten takes note of what was sent.
func (c *client) onWritten(w written) {
	c.link.sending = false
	c.link.sent += w.n
	c.link.broken = c.link.broken || w.err != nil // what the server said can still be read
	c.forgetSent()
}

// hasUnsent tells whether something waits that can be sent.
func (c *client) hasUnsent() bool {
	l := c.link
	maySend := c.phase != away && !l.broken && !l.ended
	return maySend && l.sent < len(c.outbox)
}

// hasSaidAll tells whether it is time to end our side.
func (c *client) hasSaidAll() bool {
	l := c.link
	mayEnd := !c.isAway() && !l.broken && !l.ended && !l.sentAll
	return mayEnd && c.typedAll && len(c.outbox) == 0 && len(c.kept) == 0
}

// forgetSent takes out of the outbox the lines that are sent. A line of which only a part is sent
// stays: it is none for the server before its end comes. Of one that is too long the beginning is
// enough: it will be refused again.
func (c *client) forgetSent() {
	l := c.link
	whole := bytes.LastIndexByte(c.outbox[:l.sent], '\n') + 1
	c.outbox = c.outbox[whole:]
	l.sent -= whole
	if l.sent > longLine {
		c.outbox = slices.Delete(c.outbox, longLine, l.sent)
		l.sent = longLine
	}
}

// closeInOrder ends our side, and discards what comes until the server ends its own. To close a
// connection with something unread in it would reset it. The other goroutines may be at work.
func (l *link) closeInOrder() {
	l.stop()
	l.conn.CloseWrite()
	l.conn.SetReadDeadline(time.Now().Add(closeTime))
	io.Copy(io.Discard, l.conn) // however it ends
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

// ---------------------------------------------------------------------------------------------
// 5. From the server
// ---------------------------------------------------------------------------------------------

// onHeard takes what the server has sent, line by line, or learns that it has ended.
func (c *client) onHeard(data []byte, more bool) {
	l := c.link
	for _, piece := range bytes.SplitAfter(data, []byte("\n")) {
		if len(piece) > 0 && !l.ended {
			c.onServer(piece)
		}
	}
	if !more {
		l.broken = l.broken || l.reset
		l.ended = true
		c.show(nil, true)
	}
}

// onServer shows a line, or a piece of one, and takes its meaning; on the way back, that comes
// first.
func (c *client) onServer(piece []byte) {
	l := c.link
	if c.phase != returning {
		c.show(piece, false)
	}
	part, whole := bytes.CutSuffix(piece, []byte("\n"))
	l.line = append(l.line, part[:min(len(part), lineKept-len(l.line))]...)
	prompted := c.phase != joined && l.takePrompts()
	if whole {
		l.lastLine = strings.TrimSuffix(string(l.line), "\r")
		l.line = l.line[:0]
		c.onLine(l.lastLine)
	} else if prompted && len(l.line) == 0 {
		c.onPrompt()
	}
}

// takePrompts takes the prompts off the front of the line, and tells whether there was one. The
// user's line end, which ends a prompt on the screen, is not sent back by the server. Nobody in
// the room can say what looks like a prompt: no one is called Password.
func (l *link) takePrompts() bool {
	before := l.prompts
	for _, text := range []string{prompt, passwordPrompt} {
		for bytes.HasPrefix(l.line, []byte(text)) {
			l.line = l.line[len(text):]
			l.prompts++
			l.asked = text
		}
	}
	return l.prompts > before
}

// onPrompt sees to it that the prompt that is pending is answered.
func (c *client) onPrompt() {
	if c.phase == returning && c.name != "" {
		c.answerPrompt()
		return
	}
	if c.phase == returning { // the name is asked anew
		c.phase = asked
		c.show([]byte(c.link.asked), false)
	}
	if c.answer != "" && c.link.asked == prompt {
		c.giveName()
	}
}

// giveName answers as --name says, the first time on each connection, until it is refused
// (CLIENT-8).
func (c *client) giveName() {
	if c.link.named {
		c.answer = ""
		return
	}
	c.link.named = true
	c.passOn([]byte(c.answer))
	c.show([]byte(c.answer), false)
}

// onLine follows what happens to us by the server's whole lines.
func (c *client) onLine(line string) {
	var welcomed string
	if found := welcome.FindStringSubmatch(line); found != nil {
		welcomed = found[1]
	}
	switch {
	case c.phase == returning:
		c.comeBack(line, welcomed)
	case c.phase == asked && welcomed != "":
		c.enter(welcomed)
	case c.phase == joined:
		c.followName(line)
	}
}

// followName learns of a new name, or a new password, of ours.
func (c *client) followName(line string) {
	if found := renamed.FindStringSubmatch(line); found != nil && found[1] == c.name {
		c.name = found[2]
	} else if line == "Password changed" || line == "Registered "+c.name {
		c.password = c.offered
	}
}

// enter is to be welcomed: it remembers what let us in, and sends what was kept.
func (c *client) enter(name string) {
	l := c.link
	if c.phase == asked && l.asked == passwordPrompt && l.isAnswered() {
		c.password = l.answers[l.prompts-1]
	}
	l.answers = nil
	c.name = name
	c.answer = ""
	c.phase = joined
	c.tries = 0
	kept := c.kept
	c.kept = nil
	c.passOn(kept)
}

// isAnswered tells whether a line was typed for the last prompt, as for those before it.
func (l *link) isAnswered() bool {
	return l.prompts <= len(l.answers)
}

// ending sees how it ended, as the server's last line tells (CLIENT-5), and gives the exit status,
// or tryingAgain.
func (c *client) ending() int {
	l := c.link
	switch {
	case l.lastLine == goodEnding, strings.HasPrefix(l.lastLine, goodbye) && !c.isAway():
		complain("Disconnected\n")
		return 0
	case slices.Contains(badEndings, l.lastLine) && !c.isAway():
		complain("Disconnected\n")
		return 1
	case l.sentAll && !l.broken:
		return 0
	case c.options.retries == 0, l.sentAll, c.nobodyToAsk():
		complain("Connection lost\n")
		return 1
	}
	return c.lose()
}

// ---------------------------------------------------------------------------------------------
// 6. From the keyboard
// ---------------------------------------------------------------------------------------------

// readKeyboard hands over what is typed, as it comes. It has its own goroutine, which ends with the
// input, or with the program.
func readKeyboard(keyboard chan<- []byte) {
	buffer := make([]byte, readSize)
	for {
		n, err := os.Stdin.Read(buffer)
		if n > 0 {
			keyboard <- bytes.Clone(buffer[:n])
		}
		if err != nil {
			close(keyboard)
			return
		}
	}
}

// onKeyboard passes on what was typed, as it comes; an unfinished last line gets its end
// (CLIENT-1).
func (c *client) onKeyboard(data []byte, more bool) {
	c.typedAll = !more
	if !more && c.unfinished {
		data = []byte("\n")
	}
	c.unfinished = more && data[len(data)-1] != '\n'
	for _, piece := range bytes.SplitAfter(data, []byte("\n")) {
		if len(piece) > 0 {
			c.onTyped(piece)
		}
	}
	if c.isAway() && c.nobodyToAsk() {
		c.link.ended = true
	}
}

// onTyped puts a line, or a piece of one, where it belongs.
func (c *client) onTyped(piece []byte) {
	switch {
	case c.forgets:
		c.forgets = piece[len(piece)-1] != '\n'
	case c.isAway(), len(c.kept) > 0 && c.kept[len(c.kept)-1] != '\n':
		c.kept = append(c.kept, piece...)
	default:
		c.passOn(piece)
	}
}

// passOn sends lines, or a piece of one, and remembers those that may turn out to be a password.
func (c *client) passOn(data []byte) {
	c.outbox = append(c.outbox, data...)
	for _, piece := range bytes.SplitAfter(data, []byte("\n")) {
		part, whole := bytes.CutSuffix(piece, []byte("\n"))
		c.typed = append(c.typed, part[:min(len(part), lineKept-len(c.typed))]...)
		if whole {
			c.remember(bytes.TrimSuffix(c.typed, []byte("\r")))
			c.typed = nil
		}
	}
}

// remember keeps a line for as long as it may turn out to be the password that is accepted.
func (c *client) remember(line []byte) {
	if c.phase == asked && len(c.link.answers) < maxAnswers {
		c.link.answers = append(c.link.answers, line)
	}
	if found := passwordCommand.FindSubmatch(line); found != nil {
		c.offered = found[1]
	}
}

// nobodyToAsk tells whether a prompt for the name would find no answer, as the input has ended.
func (c *client) nobodyToAsk() bool {
	return c.typedAll && c.name == "" && c.answer == ""
}

// ---------------------------------------------------------------------------------------------
// 7. Away and back
// ---------------------------------------------------------------------------------------------

// isAway tells whether the connection was lost, and we are not back yet: what is typed is kept.
func (c *client) isAway() bool {
	return c.phase == away || c.phase == returning
}

// lose begins to wait for the next try (CLIENT-7), or gives the exit status where there was the
// last one.
func (c *client) lose() int {
	c.link.conn.Close()
	c.link.ended = false
	if c.tries == c.options.retries {
		complain(fmt.Sprintf("Giving up after %d attempts\n", c.tries))
		return 1
	}
	if c.tries == 0 {
		c.delay = c.options.retryDelay
	} else {
		c.delay *= 2
	}
	c.delay = min(c.delay, maxRetryTime)
	c.tries++
	complain(fmt.Sprintf("Connection lost, retrying in %s s (%d of %d)\n",
		showSeconds(c.delay), c.tries, c.options.retries))
	c.keepUnsent()
	c.phase = away
	c.deadline = time.Now().Add(c.delay)
	return tryingAgain
}

// keepUnsent keeps what was typed and not sent, unless it was for prompts: they are not asked
// again. The same holds for the rest of an answer, or for a password, that has not been typed yet.
func (c *client) keepUnsent() {
	l := c.link
	if l.sending {
		c.onWritten(<-c.wrote) // the connection is closed
	}
	switch c.phase {
	case joined:
		c.kept = append(c.kept, c.outbox...)
	case asked:
		awaited := l.asked == passwordPrompt && !l.isAnswered()
		c.forgets = len(c.typed) > 0 || awaited
	}
	c.outbox, c.typed = nil, nil
}

// tryAgain connects once more.
func (c *client) tryAgain(ctx context.Context) {
	conn, err := connectTo(ctx, c.options.address())
	if err != nil {
		c.link.ended = ctx.Err() == nil // else the user did not want to wait
		return
	}
	c.link = newLink(conn)
	c.phase = returning
	c.deadline = time.Now().Add(tryTime)
}

// answerPrompt answers in the user's place, each prompt once; any other makes it a failed try.
func (c *client) answerPrompt() {
	l := c.link
	switch {
	case l.prompts == 1 && l.asked == prompt:
		c.outbox = append(c.outbox, c.name+"\n"...)
	case l.prompts == 2 && l.asked == passwordPrompt && c.password != nil:
		c.outbox = append(append(c.outbox, c.password...), '\n')
	default:
		c.refuse()
	}
}

// comeBack takes a line of the server's on the way back: the welcome, a refusal, or something to
// show.
func (c *client) comeBack(line, welcomed string) {
	if welcomed != "" && welcomed == c.name {
		complain("Reconnected as " + welcomed + "\n")
		c.enter(welcomed)
		return
	}
	if line != "" && welcomed == "" {
		c.show([]byte(line+"\n"), false)
	}
	if welcomed != "" || strings.HasPrefix(line, "! ") {
		c.refuse()
	}
}

// refuse ends a try that did not bring us back.
func (c *client) refuse() {
	c.link.closeInOrder()
	c.link.ended = true
}

// onDeadline tries again, or ends a try that takes too long.
func (c *client) onDeadline(ctx context.Context) {
	if c.phase == away {
		c.tryAgain(ctx)
	} else {
		c.refuse()
	}
}

// showSeconds writes a time without needless zeros.
func showSeconds(d time.Duration) string {
	text := fmt.Sprintf("%d.%09d", d/time.Second, d%time.Second)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// ---------------------------------------------------------------------------------------------
// 8. Loop
// ---------------------------------------------------------------------------------------------

// tryingAgain stands for an exit status where there is none yet.
const tryingAgain = -1

// run passes on what comes, both ways, until it ends for good, and gives the exit status.
func (c *client) run(ctx context.Context) int {
	go readKeyboard(c.keyboard)
	status := tryingAgain
	for status == tryingAgain {
		c.sendTyped()
		c.writeScreen()
		if c.link.ended && c.hasShownAll() {
			status = c.ending()
		} else {
			status = c.wait(ctx)
		}
	}
	return status
}

// wait waits for one thing that happens, and acts on it.
func (c *client) wait(ctx context.Context) int {
	select {
	case <-ctx.Done():
		c.link.closeInOrder()
		return 0
	case data, more := <-c.mayHear():
		c.onHeard(data, more)
	case data, more := <-c.mayType():
		c.onKeyboard(data, more)
	case w := <-c.wrote:
		c.onWritten(w)
	case err := <-c.shown:
		c.showing = false
		if err != nil {
			return 1 // standard output is gone
		}
	case <-c.untilDeadline():
		c.onDeadline(ctx)
	}
	return tryingAgain
}

// mayHear gives what the server sends, if there is room for it; on the way back, only where what
// we say comes last.
func (c *client) mayHear() <-chan []byte {
	room := len(c.screen) < maxWaiting
	if c.phase == returning {
		room = c.hasShownAll()
	}
	if c.phase == away || c.link.ended || !room {
		return nil
	}
	return c.link.heard
}

// mayType gives what is typed, if there is room for it, and not before the name that --name gives
// was sent.
func (c *client) mayType() <-chan []byte {
	l := c.link
	if c.typedAll || l.ended || len(c.outbox)+len(c.kept) >= maxWaiting {
		return nil
	}
	if !c.isAway() && (l.broken || c.answer != "" && !l.named) {
		return nil
	}
	return c.keyboard
}

// untilDeadline gives what tells that it is time for the next try, or for the end of one.
func (c *client) untilDeadline() <-chan time.Time {
	if !c.isAway() || c.link.ended {
		return nil
	}
	return time.After(time.Until(c.deadline))
}

// ---------------------------------------------------------------------------------------------
// 9. Start and stop
// ---------------------------------------------------------------------------------------------

const usage = `usage: chat-client [--host HOST] [--port PORT] [--name NAME]
                   [--retries N] [--retry-delay SECONDS] [--help] [--version]
`

var optionsHelp = fmt.Sprintf(usage+`
A chat client. It shows what the server sends and sends each line of its input.
The connection is not encrypted: whoever is on the way can read and change it.

  --host HOST            where the server is (default %s)
  --port PORT            its port (default %d)
  --name NAME            the screen name to give (default: be asked for it)
  --retries N            how often a connection that was lost is tried again; 0: not at all
                         (default %d)
  --retry-delay SECONDS  before the first of these tries; it doubles with each, up to
                         %s s (default %s)
  --help                 print this and exit
  --version              print the version and exit

In the chat, /help lists the commands. Ctrl+C ends the client; so does, once all is sent, Ctrl+D.
`, defaultHost, defaultPort, retries, showSeconds(maxRetryTime), showSeconds(retryTime))

const versionLine = "chat-client " + version + " (Go, protocol 1)\n"

// fail ends the program before it has begun.
func fail(status int, message string) {
	complain(message)
	os.Exit(status)
}

// usageError ends the program for a command line that is wrong.
func usageError(message string) {
	fail(2, usage+"chat-client: error: "+message+"\n")
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

// setPort sets the port, if the text is a good one.
func (o *options) setPort(text string) bool {
	o.port, _ = strconv.Atoi(text)
	return wholeNumber.MatchString(text) && 1 <= o.port && o.port <= 65535
}

// setName sets a name; whether it is a good one is for the server to say, if it is one line.
func (o *options) setName(text string) bool {
	o.answer = text + "\n"
	return !strings.ContainsFunc(text, isControl)
}

// setRetries sets the number of tries, if the text is a good one.
func (o *options) setRetries(text string) bool {
	o.retries, _ = strconv.Atoi(text)
	return wholeNumber.MatchString(text)
}

// setRetryDelay sets the time before the first try, if the text is a good one.
func (o *options) setRetryDelay(text string) bool {
	o.retryDelay, _ = time.ParseDuration(text + "s")
	return decimalNumber.MatchString(text) && o.retryDelay > 0
}

// setHost sets the host.
func (o *options) setHost(text string) bool {
	o.host = text
	return true
}

// values has what sets each option that takes a value, and tells whether the value is good.
var values = map[string]func(o *options, value string) bool{
	"--host":        (*options).setHost,
	"--port":        (*options).setPort,
	"--name":        (*options).setName,
	"--retries":     (*options).setRetries,
	"--retry-delay": (*options).setRetryDelay,
}

// parseOptions reads the command line; the first word that asks for help or is wrong ends the
// program.
func parseOptions(words []string) options {
	o := options{host: defaultHost, port: defaultPort, retries: retries, retryDelay: retryTime}
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		switch word {
		case "--help":
			answer(optionsHelp)
		case "--version":
			answer(versionLine)
		default:
			words = setOption(&o, word, words)
		}
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

// address writes where the server is; a host of IPv6 in brackets.
func (o *options) address() string {
	return net.JoinHostPort(o.host, strconv.Itoa(o.port))
}

// catchSignals gives a context that ends at the first Ctrl+C or SIGTERM. A second one ends the
// process: that is what its goroutine waits for, to the end.
func catchSignals() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Ignore(syscall.SIGPIPE) // a write to a closed standard output fails, and run sees it
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		os.Exit(1)
	}()
	return ctx
}

func main() {
	ctx := catchSignals()
	o := parseOptions(os.Args[1:])
	conn, err := connectTo(ctx, o.address())
	switch {
	case err != nil && ctx.Err() != nil:
		return // the user did not want to wait
	case err != nil:
		fail(1, fmt.Sprintf("cannot connect to %s: %s\n", o.address(), reason(err)))
	}
	os.Exit(newClient(o, conn).run(ctx))
}
