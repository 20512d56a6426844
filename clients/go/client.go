// Command client is a chat client for a terminal or a pipe. PROTOCOL.md is its contract.
//
//	go run client.go                connects to localhost:8080
//	go run client.go --help         tells the rest
//
// The two ways of a line:
//
//	keyboard -> editor -> outbox -> server
//	server -> screen
//
// The editor is there on a terminal alone, where it keeps the line that is being typed below all
// that comes. Elsewhere, and for a password, the terminal's own way of taking lines is enough.
//
// The ways of a connection, where one that is lost is tried again:
//
//	asked -> joined -> away -> returning -> joined
//
// What holds everywhere:
//
//  1. One goroutine, run's, owns everything. All that may wait for long is done by others, which
//     only tell it: a server that does not read, or a terminal that is held up, does not keep
//     the other direction, or Ctrl+C, from working. It waits itself, for a while, where a
//     connection is ended, and for the terminal where something else is to be written there, or
//     what was half typed is dropped.
//  2. What waits is bounded: where it is too much, its source is not read.
//  3. Nothing from the server reaches the screen unless it was made harmless (show).
//  4. A typed line leaves the outbox once all of it is sent, and what was typed while there was
//     no connection (kept) enters it once the server has welcomed us: never at a prompt.
//  5. The terminal is as it was before, however the program ends or is stopped.
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
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
	"golang.org/x/text/width"
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
	maxEdited    = 4095             // characters of the edited line: what a terminal itself takes
	maxBegun     = 4096             // bytes of a server's line that has no end yet
	maxHistory   = 500              // lines
	maxKey       = 64               // bytes of what a key sends
	escapeTime   = time.Second / 2  // after Escape, for what would make it the beginning of a key
	settleTime   = time.Second / 20 // for a window that is being resized step by step
	handTime     = time.Second / 50 // for what was read from the terminal to be handed over
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
	notForHistory   = regexp.MustCompile(`^/(?i:register|passwd) `)
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

// A mode is what the terminal does with what is typed.
type mode int

const (
	usual   mode = iota // as before: it shows it, and has its own simple ways to edit a line
	hiding              // it shows nothing but the line's end
	editing             // it hands over each key
)

// A terminal is the one that standard input is, if it is one. Signals come at any time, so its mode
// is touched by two goroutines.
type terminal struct {
	edits   bool           // standard output is one too, of a kind on which a line can be edited
	signals chan os.Signal // those that have to do with it

	mutex   sync.Mutex
	before  *unix.Termios // nil where it is none
	mode    mode
	changed bool // it is not as before
	ended   bool // it stays as before
}

// An editor has the line that is being typed.
type editor struct {
	on    bool
	begun []byte // what comes before it: the server's last line, which has no end yet
	line  []rune
	at    int       // where the cursor is in it
	keys  []byte    // the beginning of what a key sends
	since time.Time // when that came

	killed  []rune // what Ctrl+Y puts in
	killing bool   // the last key has put something there, to which the next one may add
	chained bool   // ... and so had the one before it
	history []string
	place   int            // in the history; its length: the new line
	edited  map[int]string // the lines of it, and the new one, as they were left

	columns, rows int  // of the terminal
	drawn         bool // it is on the screen ...
	row           int  // ... with the cursor in this row of it
}

// A client is everything. It is touched by run's goroutine alone.
type client struct {
	options options
	tty     *terminal
	link    *link  // the connection; away: the last one
	answer  string // to the prompt for the name, by --name, until it is refused
	phase   phase

	keyboard   chan []byte  // what is typed; closed at its end
	wrote      chan written // how much of the outbox was sent
	outbox     []byte       // from the keyboard, for the server
	kept       []byte       // ... and typed while there was none
	typed      []byte       // the line that is passed on, cut
	half       []byte       // the beginning of a password that was read: not passed on before its end
	unfinished bool         // the last line of the input is not whole yet
	forgets    bool         // ... and is for nobody
	typedAll   bool         // the input has ended

	screen  []byte     // for standard output
	showing bool       // some of it is being written
	shown   chan error // how that went

	editor  editor
	hides   bool             // what is typed is a password
	resized <-chan time.Time // tells that the window has its new size

	name     string            // the one we have, or last had; empty before the first welcome
	password []byte            // the one that was accepted; nil where none was
	offered  []byte            // one that a command has in it, until the server agrees
	tries    int               // since the last welcome
	trying   bool              // away: one is under way
	tried    chan *net.TCPConn // its connection; nil where there is none
	delay    time.Duration
	deadline time.Time // away: for the next try; returning: for its end
}

// written says how a part of the outbox was sent.
type written struct {
	n   int
	err error
}

func newClient(o options, tty *terminal, conn *net.TCPConn) *client {
	return &client{
		options:  o,
		tty:      tty,
		link:     newLink(conn),
		answer:   o.answer,
		keyboard: make(chan []byte),
		wrote:    make(chan written, 1),
		shown:    make(chan error, 1),
		tried:    make(chan *net.TCPConn, 1),
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
	var text []byte
	data = append(c.link.held, data...)
	for utf8.FullRune(data) && (len(data) > 1 || data[0] != '\r') {
		if bytes.HasPrefix(data, []byte("\r\n")) {
			data = data[1:]
		}
		r, size := utf8.DecodeRune(data) // what is not UTF-8 is an error too
		if isControl(r) && r != '\n' {
			r = utf8.RuneError
		}
		text = utf8.AppendRune(text, r)
		data = data[size:]
	}
	if last && len(data) > 0 {
		text, data = utf8.AppendRune(text, utf8.RuneError), nil
	}
	c.link.held = bytes.Clone(data)
	c.put(text)
}

// put puts harmless text on the screen: whole lines above the edited line, a line that has no end
// yet at its beginning.
func (c *client) put(text []byte) {
	e := &c.editor
	whole := bytes.LastIndexByte(text, '\n') + 1
	switch {
	case !e.on:
		c.screen = append(c.screen, text...)
	case whole > 0:
		c.erase()
		c.screen = append(append(c.screen, e.begun...), text[:whole]...)
	}
	if whole > 0 {
		e.begun = nil
	}
	c.begin(text[whole:])
}

// begin adds to the line that has no end yet. Where it has grown longer than any server's, so that
// it might never have one, it is put above the edited line in parts.
func (c *client) begin(text []byte) {
	e := &c.editor
	if !c.tty.edits || len(text) == 0 {
		return
	}
	c.erase()
	e.begun = append(e.begun, text...)
	if len(e.begun) <= maxBegun {
		return
	}
	if e.on {
		c.screen = append(append(c.screen, e.begun...), '\n')
	}
	e.begun = nil
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

// flush waits until all is on the screen; not for long, as it may be held up.
func (c *client) flush() {
	late := time.After(closeTime)
	c.writeScreen()
	for c.showing {
		select {
		case <-c.shown:
			c.showing = false
			c.writeScreen()
		case <-late:
			return
		}
	}
}

// say says something on standard error, which may be the same terminal: above the edited line.
func (c *client) say(message string) {
	if c.editor.on {
		c.erase()
		c.flush()
	}
	complain(message)
}

// complain says something on standard error.
func complain(message string) {
	fmt.Fprint(os.Stderr, message) // where that is closed, nobody can be told
}

// ---------------------------------------------------------------------------------------------
// 4. Terminal
// ---------------------------------------------------------------------------------------------

// openTerminal looks at what standard input and standard output are.
func openTerminal() *terminal {
	t := &terminal{signals: make(chan os.Signal)}
	if before, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil {
		t.before = before
		kind := os.Getenv("TERM")
		t.edits = term.IsTerminal(1) && kind != "" && kind != "dumb"
	}
	return t
}

// hideTyping keeps a password from being shown (HIDE-1): the terminal takes the line by itself.
// What was being typed is no part of it.
func (c *client) hideTyping() {
	if c.hides {
		return
	}
	c.hides = true
	if e := &c.editor; e.on {
		c.erase()
		e.newLine()
		e.on, e.keys = false, nil
		c.screen = append(c.screen, e.begun...)
	}
	c.tty.setMode(hiding)
}

// showTyping goes back to what was before. Before the welcome, what was half typed is for nobody,
// nor to be seen. Where the connection has ended, a prompt stays where it is.
func (c *client) showTyping(welcomed bool) {
	if !c.hides {
		return
	}
	if !welcomed {
		c.dropHalf()
	}
	c.hides = false
	if c.link.ended {
		c.endRow()
	}
	c.startEditing()
}

// dropHalf drops what was typed of a password that has no end yet, wherever it is.
func (c *client) dropHalf() {
	if c.tty.before == nil {
		return
	}
	c.tty.dropTyped()
	select {
	case data, more := <-c.keyboard: // lines that were whole before stay
		c.onInput(data, more)
	case <-time.After(handTime):
	}
	c.takeHalf()
}

// takeHalf takes out what was read of a password that has no end yet.
func (c *client) takeHalf() []byte {
	half := c.half
	if len(half) > 0 {
		c.half, c.unfinished = nil, false
	}
	return half
}

// leaveTerminal leaves the terminal as it was, with the edited line on it.
func (c *client) leaveTerminal() {
	c.leaveLine("\n")
	c.editor = editor{}
	if c.tty.edits {
		c.flush()
	}
	c.tty.restoreTerminal()
}

// restoreTerminal puts the terminal back into the mode that it was in, for good.
func (t *terminal) restoreTerminal() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.giveBack()
	t.ended = true
}

// giveBack does that. The rest of a password is not for those who read next, as they would show it.
func (t *terminal) giveBack() {
	t.discardHidden()
	t.mode = usual
	t.applyMode()
}

// dropTyped discards what was typed for a password and is not read.
func (t *terminal) dropTyped() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.discardHidden()
}

// discardHidden does that, if the terminal is ours.
func (t *terminal) discardHidden() {
	if t.changed && t.mode == hiding {
		discardTyped()
	}
}

// setMode puts the terminal into a mode.
func (t *terminal) setMode(m mode) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.before == nil || t.ended || m == t.mode {
		return
	}
	t.mode = m
	t.applyMode()
}

// applyMode makes the terminal do as its mode says, if it is ours to change. What was typed ahead
// stays.
func (t *terminal) applyMode() {
	if t.mode == usual && !t.changed || t.mode != usual && !t.inForeground() {
		return
	}
	t.changed = t.mode != usual
	now := *t.before
	switch t.mode {
	case hiding:
		if now.Lflag&unix.ECHO != 0 { // else the line's end was not shown before either
			now.Lflag = now.Lflag&^unix.ECHO | unix.ECHONL
		}
	case editing: // ISIG stays, so that Ctrl+C is a signal
		now.Iflag &^= unix.ICRNL | unix.INLCR | unix.IGNCR | unix.IXON
		now.Oflag |= unix.OPOST | unix.ONLCR
		now.Lflag &^= unix.ICANON | unix.ECHO | unix.ECHONL | unix.IEXTEN
		now.Cc[unix.VMIN], now.Cc[unix.VTIME] = 1, 0
	}
	unix.IoctlSetTermios(0, unix.TCSETS, &now) // where the terminal is gone, nothing is to be done
}

// comeBack puts the terminal into our mode again, after the program was stopped. In the background
// it is the shell's.
func (t *terminal) comeBack() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.applyMode()
}

// inForeground tells whether the terminal is ours at the moment.
func (t *terminal) inForeground() bool {
	group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}

// discardTyped discards what was typed and is not read. What is still on its way in the kernel is
// taken as it was typed, without being shown, once somebody asks for it.
func discardTyped() {
	unix.IoctlSetInt(0, unix.TCFLSH, unix.TCIFLUSH)
	unix.Poll([]unix.PollFd{{Fd: 0, Events: unix.POLLIN}}, 0)
	unix.IoctlSetInt(0, unix.TCFLSH, unix.TCIFLUSH)
}

// watchSignals has the signals that have to do with the terminal handed to run. Where run is held
// up for long, by the terminal most likely, they have their own effect nevertheless.
func (t *terminal) watchSignals() {
	if t.before == nil {
		return
	}
	signal.Ignore(syscall.SIGTTOU) // in the background too, the mode can be restored
	caught := make(chan os.Signal, 8)
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGTSTP} {
		if swapAction(s, nil)[0] != ignored {
			signal.Notify(caught, s)
		}
	}
	signal.Notify(caught, syscall.SIGCONT, syscall.SIGWINCH)
	go func() {
		for s := range caught {
			select {
			case t.signals <- s:
			case <-time.After(closeTime):
				t.obey(s)
			}
		}
	}()
}

// onSignal acts on a signal that has to do with the terminal. Before one that stops or ends the
// program, the edited line is left on the screen.
func (c *client) onSignal(s os.Signal) {
	e := &c.editor
	switch s {
	case syscall.SIGWINCH:
		e.columns, e.rows = windowSize()
		c.resized = time.After(settleTime)
	case syscall.SIGCONT:
		c.tty.comeBack()
		c.erase()
	case syscall.SIGTSTP:
		c.leaveLine("")
		c.flush()
		if c.hides {
			c.dropHalf()
		}
		c.tty.obey(s)
		c.returnToTerminal()
	default:
		c.leaveTerminal()
		c.tty.obey(s)
	}
}

// returnToTerminal puts on the screen again, after a stop, what was to be answered.
func (c *client) returnToTerminal() {
	if c.tty.edits {
		c.screen = append(c.screen, "\r\x1b[J"...)
	}
	if c.tty.edits && c.hides {
		c.screen = append(c.screen, c.editor.begun...)
	}
}

// obey lets a signal have its own effect, with the terminal as it was before.
func (t *terminal) obey(s os.Signal) {
	number := s.(syscall.Signal)
	if number == syscall.SIGCONT || number == syscall.SIGWINCH {
		return
	}
	t.mutex.Lock()
	defer t.mutex.Unlock()
	ours := t.mode
	t.giveBack()
	takeEffect(number)
	t.mode = ours
	t.applyMode()
}

// takeEffect sends ourselves a signal as if it had never been caught. That it goes to this very
// thread makes it happen here, not some time later. Package signal can only go back to the
// handlers of Go, which do something else.
func takeEffect(s syscall.Signal) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	caught := swapAction(s, &action{})
	unix.Tgkill(unix.Getpid(), unix.Gettid(), s)
	swapAction(s, &caught)
}

// An action is struct sigaction of Linux, the handler first; none is the signal's own effect.
type action [8]uintptr

const ignored = 1 // SIG_IGN

// swapAction sets what a signal does, unless that is nil, and gives what it did before.
func swapAction(s syscall.Signal, set *action) (before action) {
	const maskSize = 8
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(s), uintptr(unsafe.Pointer(set)),
		uintptr(unsafe.Pointer(&before)), maskSize, 0, 0)
	return before
}

// windowSize gives the columns and rows of the terminal.
func windowSize() (columns, rows int) {
	columns, rows, err := term.GetSize(1)
	if err != nil || columns <= 0 || rows <= 0 {
		return 80, 24
	}
	return columns, rows
}

// ---------------------------------------------------------------------------------------------
// 5. Editor
// ---------------------------------------------------------------------------------------------

// startEditing begins to edit lines, where that can be done. What the server's line has so far is
// on the screen already.
func (c *client) startEditing() {
	e := &c.editor
	if !c.tty.edits || c.typedAll {
		c.tty.setMode(usual)
		return
	}
	e.on = true
	e.columns, e.rows = windowSize()
	e.newLine()
	_, e.row, _ = e.layout()
	e.drawn = true
	c.erase()
	c.tty.setMode(editing)
}

// onKeys takes what the keys have sent. Escape alone has no meaning, but it is how others begin.
func (c *client) onKeys(data []byte) {
	e := &c.editor
	if string(e.keys) == "\x1b" && time.Since(e.since) > escapeTime {
		e.keys = nil
	}
	e.keys = append(e.keys, data...)
	e.since = time.Now()
	for e.on && keySize(e.keys) > 0 {
		key := string(e.keys[:keySize(e.keys)])
		e.keys = e.keys[len(key):]
		c.onKey(key)
	}
	if len(e.keys) > maxKey {
		e.keys = nil
	}
}

// onKey acts on one key.
func (c *client) onKey(key string) {
	e := &c.editor
	c.erase()
	switch {
	case key == "\r", key == "\n":
		c.onEnter()
	case key == "\x04" && len(e.line) == 0: // Ctrl+D
		c.leaveLine("\n")
		c.editor = editor{}
		c.tty.setMode(usual)
		c.onKeyboard(nil, false)
	case key == "\x0c": // Ctrl+L
		c.screen = append(c.screen, "\x1b[H\x1b[2J"...)
	default:
		e.press(key)
	}
}

// onEnter passes on the line, which stays on the screen. Before the welcome it is an answer to a
// prompt, and none to be brought back.
func (c *client) onEnter() {
	e := &c.editor
	c.leaveLine("\n")
	if len(e.begun)+len(e.line) == 0 {
		c.screen = append(c.screen, '\n')
	}
	text := string(e.line)
	e.begun = nil
	if c.name != "" {
		e.keep(text)
	}
	e.newLine()
	c.onKeyboard([]byte(text+"\n"), true)
}

// draw puts the edited line on the screen, below all else; of one that is higher than the window,
// the rows around the cursor. It waits until the screen is done with what was before, so that it is
// drawn once after many lines.
func (c *client) draw() {
	e := &c.editor
	if !e.on || e.drawn || c.showing || len(e.begun)+len(e.line) == 0 || !c.tty.inForeground() {
		return
	}
	rows, row, column := e.layout()
	first := max(0, row-e.rows+1)
	rows = rows[first:min(len(rows), first+e.rows)]
	e.drawn, e.row = true, row-first
	c.screen = append(c.screen, strings.Join(rows, "\n")...)
	c.move('A', len(rows)-1-e.row)
	c.screen = append(c.screen, '\r')
	c.move('C', column)
}

// erase takes the edited line off the screen, if it is there: it is about to change, or to give way
// to something above it.
func (c *client) erase() {
	e := &c.editor
	if !e.drawn {
		return
	}
	e.drawn = false
	c.move('A', e.row)
	c.screen = append(c.screen, "\r\x1b[J"...)
}

// leaveLine puts the edited line on the screen to stay there, in whole, and after it, if there is
// any, an end.
func (c *client) leaveLine(end string) {
	e := &c.editor
	c.erase()
	if e.on {
		rows, _, _ := e.layout()
		c.screen = append(c.screen, strings.Join(rows, "")...)
	}
	if len(e.begun)+len(e.line) > 0 {
		c.screen = append(c.screen, end...)
	}
}

// move moves the cursor: up (A) or to the right (C).
func (c *client) move(way byte, n int) {
	if n > 0 {
		c.screen = fmt.Appendf(c.screen, "\x1b[%d%c", n, way)
	}
}

// layout breaks the edited line, with what the server has begun, into rows as wide as the window,
// all but the last one full, and tells where the cursor is.
func (e *editor) layout() (rows []string, row, column int) {
	var text strings.Builder
	begun := []rune(string(e.begun))
	used := 0
	breakRow := func() {
		text.WriteString(strings.Repeat(" ", max(0, e.columns-used)))
		rows = append(rows, text.String())
		text.Reset()
		used = 0
	}
	for i, r := range append(begun, e.line...) {
		cells := runeWidth(r)
		if cells > 0 && used > 0 && used+cells > e.columns {
			breakRow()
		}
		if i == len(begun)+e.at {
			row, column = len(rows), used
		}
		if r == '\t' {
			cells = min(8-used%8, e.columns-used)
			text.WriteString(strings.Repeat(" ", cells))
		} else {
			text.WriteRune(r)
		}
		used += cells
	}
	if e.at == len(e.line) {
		if used >= e.columns {
			breakRow()
		}
		row, column = len(rows), used
	}
	return append(rows, text.String()), row, column
}

// runeWidth tells how many columns a character takes; what is combined with the one before it takes
// none, and a TAB one at the least.
func runeWidth(r rune) int {
	const softHyphen = 0xad // a format character that terminals show
	switch kind := width.LookupRune(r).Kind(); {
	case kind == width.EastAsianWide, kind == width.EastAsianFullwidth:
		return 2
	case r == softHyphen:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case 0x1160 <= r && r <= 0x11ff, 0xd7b0 <= r && r <= 0xd7fb:
		return 0 // the later parts of a Hangul syllable
	}
	return 1
}

var (
	wholeKey = regexp.MustCompile(`(?s)^\x1b(?:\[\[.|\[[0-?]*[ -/]*[@-Z\\-~]|O.|[^\[O\x1b])`)
	begunKey = regexp.MustCompile(`^\x1b(?:\[\[?|\[[0-?]*[ -/]*|O)?$`)
	strayKey = regexp.MustCompile(`^\x1b(?:\[[0-?]*[ -/]*)?`)
)

// keySize gives the length of what the first key has sent: a character, or an escape sequence; 0
// where that is not whole yet.
func keySize(data []byte) int {
	switch {
	case len(data) == 0 || data[0] != '\x1b' && !utf8.FullRune(data):
		return 0
	case data[0] != '\x1b':
		_, size := utf8.DecodeRune(data)
		return size
	case wholeKey.Match(data):
		return len(wholeKey.Find(data))
	case begunKey.Match(data):
		return 0
	}
	return len(strayKey.Find(data)) // no key sends that
}

// keys has what each key does that is no character.
var keys = map[string]func(e *editor){
	"\x01": (*editor).home, "\x1b[H": (*editor).home, "\x1bOH": (*editor).home,
	"\x1b[1~": (*editor).home, "\x1b[7~": (*editor).home,
	"\x05": (*editor).end, "\x1b[F": (*editor).end, "\x1bOF": (*editor).end,
	"\x1b[4~": (*editor).end, "\x1b[8~": (*editor).end,
	"\x02": (*editor).left, "\x1b[D": (*editor).left, "\x1bOD": (*editor).left,
	"\x06": (*editor).right, "\x1b[C": (*editor).right, "\x1bOC": (*editor).right,
	"\x1bb": (*editor).wordLeft, "\x1b[1;5D": (*editor).wordLeft, "\x1bOd": (*editor).wordLeft,
	"\x1bf": (*editor).wordRight, "\x1b[1;5C": (*editor).wordRight, "\x1bOc": (*editor).wordRight,
	"\x7f": (*editor).rubOut, "\x08": (*editor).rubOut,
	"\x04": (*editor).remove, "\x1b[3~": (*editor).remove,
	"\x0b": (*editor).killAfter, "\x15": (*editor).killBefore, "\x17": (*editor).killWord,
	"\x19": (*editor).yank,
	"\x10": (*editor).older, "\x1b[A": (*editor).older, "\x1bOA": (*editor).older,
	"\x0e": (*editor).newer, "\x1b[B": (*editor).newer, "\x1bOB": (*editor).newer,
}

// press lets a key do its work, or puts a character into the line. What is neither does nothing.
func (e *editor) press(key string) {
	e.chained, e.killing = e.killing, false
	r, size := utf8.DecodeRuneInString(key)
	if do, known := keys[key]; known {
		do(e)
	} else if size == len(key) && !isControl(r) && (r != utf8.RuneError || size > 1) {
		e.insert([]rune{r})
	}
}

func (e *editor) home()       { e.at = 0 }
func (e *editor) end()        { e.at = len(e.line) }
func (e *editor) left()       { e.at = e.before() }
func (e *editor) right()      { e.at = e.after() }
func (e *editor) rubOut()     { e.cut(e.before(), e.at) }
func (e *editor) remove()     { e.cut(e.at, e.after()) }
func (e *editor) killAfter()  { e.kill(e.at, len(e.line)) }
func (e *editor) killBefore() { e.kill(0, e.at) }
func (e *editor) yank()       { e.insert(e.killed) }
func (e *editor) older()      { e.recall(e.place - 1) }
func (e *editor) newer()      { e.recall(e.place + 1) }

// before gives the place of the character before the cursor, with all that is combined with it.
func (e *editor) before() int {
	at := max(0, e.at-1)
	for at > 0 && runeWidth(e.line[at]) == 0 {
		at--
	}
	return at
}

// after gives the place after the character at the cursor.
func (e *editor) after() int {
	at := min(e.at+1, len(e.line))
	for at < len(e.line) && runeWidth(e.line[at]) == 0 {
		at++
	}
	return at
}

// wordLeft goes to the beginning of a word.
func (e *editor) wordLeft() {
	for e.at > 0 && !inWord(e.line[e.at-1]) {
		e.at--
	}
	for e.at > 0 && inWord(e.line[e.at-1]) {
		e.at--
	}
}

// wordRight goes to the end of a word.
func (e *editor) wordRight() {
	for e.at < len(e.line) && !inWord(e.line[e.at]) {
		e.at++
	}
	for e.at < len(e.line) && inWord(e.line[e.at]) {
		e.at++
	}
}

// inWord tells whether a character is part of a word.
func inWord(r rune) bool {
	return unicode.In(r, unicode.L, unicode.N, unicode.M)
}

// killWord takes out what is before the cursor as far as the last blank.
func (e *editor) killWord() {
	from := e.at
	for from > 0 && unicode.IsSpace(e.line[from-1]) {
		from--
	}
	for from > 0 && !unicode.IsSpace(e.line[from-1]) {
		from--
	}
	e.kill(from, e.at)
}

// kill takes out a part that can be put back; of several in a row, all of them.
func (e *editor) kill(from, to int) {
	part := slices.Clone(e.line[from:to])
	switch {
	case len(part) == 0:
		e.killing = e.chained
		return
	case e.chained && from < e.at:
		e.killed = append(part, e.killed...)
	case e.chained:
		e.killed = append(e.killed, part...)
	default:
		e.killed = part
	}
	e.killing = true
	e.cut(from, to)
}

// cut takes out a part.
func (e *editor) cut(from, to int) {
	e.line = slices.Delete(e.line, from, to)
	e.at = from
}

// insert puts text in at the cursor, if there is room for it.
func (e *editor) insert(text []rune) {
	if len(e.line)+len(text) <= maxEdited {
		e.line = slices.Insert(e.line, e.at, text...)
		e.at += len(text)
	}
}

// newLine begins a new line.
func (e *editor) newLine() {
	e.line, e.at = nil, 0
	e.killing = false
	e.place = len(e.history)
	e.edited = make(map[int]string)
}

// keep puts a line into the history, unless it is empty, just the same as the last one, or has a
// password in it.
func (e *editor) keep(text string) {
	last := len(e.history) - 1
	if text == "" || last >= 0 && text == e.history[last] || notForHistory.MatchString(text) {
		return
	}
	e.history = append(e.history, text)
	if len(e.history) > maxHistory {
		e.history = e.history[1:]
	}
}

// recall goes to another line of the history, or back to the new one. Each stays as it was left
// until a line is passed on.
func (e *editor) recall(place int) {
	if place < 0 || place > len(e.history) {
		return
	}
	e.edited[e.place] = string(e.line)
	e.place = place
	text, left := e.edited[place]
	if !left {
		text = e.history[place]
	}
	e.line = []rune(text)
	e.at = len(e.line)
}

// ---------------------------------------------------------------------------------------------
// 6. Connection
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
// 7. From the server
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
		c.showTyping(false)
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
	if c.link.asked == passwordPrompt {
		c.hideTyping()
	} else {
		c.showTyping(false)
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
	c.showTyping(true)
	l.answers = nil
	c.name = name
	c.answer = ""
	c.phase = joined
	c.tries = 0
	kept := c.kept
	c.kept = nil
	c.passOn(kept)
	if half := c.takeHalf(); len(half) > 0 {
		c.onInput(half, true)
	}
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
		c.say("Disconnected\n")
		return 0
	case slices.Contains(badEndings, l.lastLine) && !c.isAway():
		c.say("Disconnected\n")
		return 1
	case l.sentAll && !l.broken:
		return 0
	case c.options.retries == 0, l.sentAll, c.nobodyToAsk():
		c.endUnfinished()
		c.say("Connection lost\n")
		return 1
	}
	return c.lose()
}

// ---------------------------------------------------------------------------------------------
// 8. From the keyboard
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

// onInput takes what the terminal, or the pipe, hands over: keys for the editor, or lines. A key
// that was pressed just before the terminal takes lines by itself may still have sent a carriage
// return.
func (c *client) onInput(data []byte, more bool) {
	switch {
	case more && c.editor.on:
		c.onKeys(data)
		return
	case more && c.tty.edits:
		data = bytes.ReplaceAll(data, []byte("\r"), []byte("\n"))
	}
	c.onKeyboard(data, more)
}

// onKeyboard passes on what was typed, as it comes; an unfinished last line gets its end
// (CLIENT-1).
func (c *client) onKeyboard(data []byte, more bool) {
	c.typedAll = !more
	if !more && c.unfinished {
		data = []byte("\n")
	}
	c.unfinished = more && data[len(data)-1] != '\n'
	if bytes.HasSuffix(data, []byte("\n")) {
		c.editor.begun = nil // the terminal has shown the line's end
	}
	data = append(c.half, data...)
	c.half = nil
	for _, piece := range bytes.SplitAfter(data, []byte("\n")) {
		switch {
		case len(piece) == 0:
		case c.hides && c.tty.before != nil && piece[len(piece)-1] != '\n':
			c.half = bytes.Clone(piece[:min(len(piece), longLine)])
		default:
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
// 9. Away and back
// ---------------------------------------------------------------------------------------------

// isAway tells whether the connection was lost, and we are not back yet: what is typed is kept.
func (c *client) isAway() bool {
	return c.phase == away || c.phase == returning
}

// lose begins to wait for the next try (BACK-1), or gives the exit status where there was the
// last one.
func (c *client) lose() int {
	c.link.conn.Close()
	c.link.ended = false
	if c.tries == c.options.retries {
		c.say(fmt.Sprintf("Giving up after %d attempts\n", c.tries))
		return 1
	}
	if c.tries == 0 {
		c.delay = c.options.retryDelay
	} else {
		c.delay *= 2
	}
	c.delay = min(c.delay, maxRetryTime)
	c.tries++
	c.endUnfinished()
	c.say(fmt.Sprintf("Connection lost, retrying in %s s (%d of %d)\n",
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

// endUnfinished ends, above the edited line, the line that the server cannot end any more. A prompt
// stays where it is.
func (c *client) endUnfinished() {
	e := &c.editor
	if e.on && string(e.begun) != prompt {
		c.endRow()
	}
}

// endRow ends a line that has no end yet.
func (c *client) endRow() {
	if len(c.editor.begun) > 0 {
		c.put([]byte("\n"))
	}
}

// tryAgain begins to connect once more. That may take long, and a line can be edited meanwhile.
func (c *client) tryAgain(ctx context.Context) {
	c.trying = true
	address := c.options.address()
	go func() {
		conn, _ := connectTo(ctx, address)
		c.tried <- conn
	}()
}

// onTried goes on with the connection, if there is one. The prompt of the last one is forgotten.
func (c *client) onTried(ctx context.Context, conn *net.TCPConn) {
	c.trying = false
	if conn == nil {
		c.link.ended = ctx.Err() == nil // else the user did not want to wait
		return
	}
	c.erase()
	c.editor.begun = nil
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
		c.say("Reconnected as " + welcomed + "\n")
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
// 10. Loop
// ---------------------------------------------------------------------------------------------

// tryingAgain stands for an exit status where there is none yet.
const tryingAgain = -1

// run passes on what comes, both ways, until it ends for good, and gives the exit status.
func (c *client) run(ctx context.Context) int {
	defer c.tty.restoreTerminal()
	c.tty.watchSignals()
	c.startEditing()
	go readKeyboard(c.keyboard)
	status := tryingAgain
	for status == tryingAgain {
		c.sendTyped()
		c.draw()
		c.writeScreen()
		if c.link.ended && c.hasShownAll() {
			status = c.ending()
		} else {
			status = c.wait(ctx)
		}
	}
	c.leaveTerminal()
	if ctx.Err() != nil {
		c.link.closeInOrder()
	}
	return status
}

// wait waits for one thing that happens, and acts on it.
func (c *client) wait(ctx context.Context) int {
	select {
	case <-ctx.Done():
		return 0
	case s := <-c.tty.signals:
		c.onSignal(s)
	case data, more := <-c.mayHear():
		c.onHeard(data, more)
	case data, more := <-c.mayType():
		c.onInput(data, more)
	case w := <-c.wrote:
		c.onWritten(w)
	case err := <-c.shown:
		c.showing = false
		if err != nil {
			return 1 // standard output is gone
		}
	case <-c.untilDeadline():
		c.onDeadline(ctx)
	case <-c.resized:
		c.erase() // and draw it anew
	case conn := <-c.tried:
		c.onTried(ctx, conn)
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
	if !c.isAway() || c.trying || c.link.ended {
		return nil
	}
	return time.After(time.Until(c.deadline))
}

// ---------------------------------------------------------------------------------------------
// 11. Start and stop
// ---------------------------------------------------------------------------------------------

const usage = `usage: chat-client [--host HOST] [--port PORT] [--name NAME]
                   [--retries N] [--retry-delay SECONDS] [--help] [--version]
`

var optionsHelp = fmt.Sprintf(usage+`
A chat client. It shows what the server sends and sends each line of its input.
Nothing is encrypted, passwords neither. On a network that is not yours, use an SSH tunnel
or a TLS proxy (README.md tells how).

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
On a terminal a line can be edited; Up brings back those typed before.
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
	return text != "" && text != "*"
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
func catchSignals(tty *terminal) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Ignore(syscall.SIGPIPE) // a write to a closed standard output fails, and run sees it
	signal.Notify(signals, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGINT) { // PROG-10
		signal.Notify(signals, syscall.SIGINT)
	}
	go func() {
		<-signals
		cancel()
		<-signals
		tty.restoreTerminal()
		os.Exit(1)
	}()
	return ctx
}

func main() {
	tty := openTerminal()
	ctx := catchSignals(tty)
	o := parseOptions(os.Args[1:])
	conn, err := connectTo(ctx, o.address())
	switch {
	case err != nil && ctx.Err() != nil:
		return // the user did not want to wait
	case err != nil:
		fail(1, fmt.Sprintf("cannot connect to %s: %s\n", o.address(), reason(err)))
	}
	os.Exit(newClient(o, tty, conn).run(ctx))
}
