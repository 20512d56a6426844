// Command client is a chat client for a terminal or a pipe. PROTOCOL.md is its contract; ids such
// as CLIENT-4 name its rules.
//
//	go run client.go                connects to localhost:8080
//	go run client.go --help         lists the options
//
// The two ways of a line:
//
//	keyboard -> typed -> outbox -> server
//	server -> screen
//
// The states of a connection, where one that is lost is tried again:
//
//	asked -> joined -> away -> returning -> joined
//
// What always holds:
//
//  1. One goroutine, run's, owns everything. All that may wait for long is done by others (begin),
//     which send it what is to be done next: so neither direction, nor Ctrl+C, waits for a server
//     that does not read or for a terminal that is held up.
//  2. What waits is bounded: where it is too much, its source is not read.
//  3. Nothing from the server reaches the screen unless it was made harmless (show).
//  4. A typed line leaves the outbox once all of it is sent, and what was typed while there was no
//     connection (kept) enters it once the server has welcomed us: never at a prompt.
//  5. The terminal gets its mode back, however the program ends or is stopped (package terminal).
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
	"net/netip"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"chat/client/options"
	"chat/client/terminal"
)

// ---------------------------------------------------------------------------------------------
// 1. Limits
// ---------------------------------------------------------------------------------------------

const (
	maxWaiting   = 64 * 1024               // bytes that may wait in one direction; then its source does
	readSize     = 64 * 1024               // bytes read in one go
	lineKept     = 1280                    // bytes kept of a server's line: two names and a text fit
	maxLine      = 1024                    // bytes that a server takes as one line
	maxAnswers   = 8                       // to prompts on one connection: no server asks more often
	maxOffers    = 64                      // commands that wait for their reply, as far as we follow them
	nextTime     = time.Second             // for an address to answer before the next is tried, too
	tryTime      = 30 * time.Second        // to connect; and for the welcome, on the way back
	closeTime    = time.Second             // for the server to end its side, once we have ended ours
	sayTime      = time.Second / 2         // for standard error to take a line
	endTime      = 1500 * time.Millisecond // for all of the end, after a signal
	maxRetryTime = 30 * time.Second
)

const (
	prompt         = "Enter your screen name: "
	passwordPrompt = "Password: "
	shutdown       = "Server is shutting down"
)

var (
	welcome  = regexp.MustCompile(`^Welcome, ([A-Za-z0-9_-]+) \(`)
	renamed  = regexp.MustCompile(`^([A-Za-z0-9_-]+) is now known as ([A-Za-z0-9_-]+)$`)
	named    = regexp.MustCompile(`^(?:\(private\) )?([A-Za-z0-9_-]+)(?:: | has (joined|left) the chat$)`)
	online   = regexp.MustCompile(`^Online \([0-9]+\): (.*)$`)
	goodbye  = regexp.MustCompile(`^(?:Server is shutting down$|Goodbye, )`)
	sentAway = regexp.MustCompile(`^! (?:too many attempts|timed out|server full|kicked by the operator)$`)

	// Commands whose replies tell what we are called and what our password is, and the refusals of
	// these commands.
	accountCommand = regexp.MustCompile(`^/(?i:(register|passwd)|unregister|nick)(?: +(.*))?$`)
	refusal        = regexp.MustCompile(`^! (?:invalid name: |name in use: |name registered: |` +
		`name not registered: |already registered: |not registered: |password must |accounts cannot |` +
		`unknown command: /(?i:register|passwd|unregister|nick) )`)
)

// ---------------------------------------------------------------------------------------------
// 2. Types
// ---------------------------------------------------------------------------------------------

// A phase is where the client is with the server.
type phase int

const (
	asked     phase = iota // connected, and never welcomed yet: the user answers the prompts
	joined                 // welcomed
	away                   // the connection is lost, and the next try is not due, or is being made
	returning              // connected again: what we remember answers the prompts
)

// A link is one connection, and what is known of it.
type link struct {
	conn    *net.TCPConn
	hearing bool // it is being read
	sending bool // some of the outbox is being sent
	sentAll bool // the input has ended, and so has, in order, our side
	broken  bool // the server takes no more, or has reset the connection
	refused bool // our side is ended, and what comes is discarded: a try that has failed
	ended   bool // nothing more comes from the server

	line     []byte   // what the server's last line has so far
	lastLine string   // its last whole one; both without prompts, and cut at lineKept
	prompts  int      // how often it has asked
	asked    string   // its last prompt
	answers  []string // the first lines typed, until the welcome
	named    bool     // the answer that --name gives was given
	held     []byte   // what came and is not shown, before it is seen what follows
}

// A secret is a password, and the one name that it is for.
type secret struct{ name, password string }

// A client is everything. It is touched by run's goroutine alone.
type client struct {
	options options.Options
	tty     *terminal.Terminal
	link    *link // the connection; away: the last one
	phase   phase
	answers bool // --name answers the prompt for the name, until it is refused

	done chan func() // what is to be done next, now that something that was begun is done

	reading  bool   // standard input is being read
	typed    []byte // of a line that is not whole yet
	outbox   []byte // lines for the server
	kept     []byte // lines that were typed while there was no connection
	forgets  bool   // the next line of the input is dropped: it may be a password
	typedAll bool   // the input has ended
	quits    bool   // /quit was typed while there was no connection

	showing bool          // standard output is being written
	shown   chan error    // how that went
	said    chan struct{} // closed when the last words on standard error are written

	name    string   // the one we have, or last had; empty before the first welcome
	proven  secret   // what the server took last
	offered []string // the password in each command that it has not answered, empty where it has none

	tries    int  // since the last welcome
	trying   bool // away: one is under way
	delay    time.Duration
	deadline time.Time // away: for the next try; returning: for its end
}

func newClient(o options.Options, tty *terminal.Terminal, conn *net.TCPConn) *client {
	c := &client{
		options: o,
		tty:     tty,
		link:    &link{conn: conn},
		answers: o.HasName,
		done:    make(chan func()),
		shown:   make(chan error, 1),
		said:    make(chan struct{}),
	}
	close(c.said)
	tty.Flush = c.flush
	return c
}

// begin has work done that may wait for long. What it returns is done afterwards, by run's goroutine.
func (c *client) begin(work func() func()) {
	go func() { c.done <- work() }()
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
	c.tty.PrintAbove(text)
}

// isControl reports whether a character is one of C0 except TAB, DEL and C1, or of those that break
// a line or turn its direction on the screen.
func isControl(r rune) bool {
	return r < ' ' && r != '\t' || r >= 0x7f && r <= 0x9f ||
		r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// draw draws the half-typed line once the screen has taken all else, so that it is drawn once after
// many lines; then it has what waits for standard output written.
func (c *client) draw() {
	if !c.showing {
		c.tty.SetPrompt(c.ownPrompt())
		c.tty.Draw()
		c.writeScreen()
	}
}

// ownPrompt returns the client's own prompt, which there is from the first welcome on (EDIT-2).
func (c *client) ownPrompt() string {
	switch {
	case c.name == "":
		return ""
	case c.phase == joined:
		return c.name + "> "
	}
	return c.name + " (away)> "
}

// writeScreen begins to write what waits for standard output, if that is done with what was before.
func (c *client) writeScreen() {
	text := c.tty.Out
	if c.showing || len(text) == 0 || !c.tty.MayShow() {
		return
	}
	c.tty.Out, c.showing = nil, true
	go func() {
		_, err := os.Stdout.Write(text)
		c.shown <- err
	}()
}

// hasShownAll reports whether the screen has all that came: what we say is to follow it.
func (c *client) hasShownAll() bool {
	return !c.showing && len(c.tty.Out) == 0
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

// announce says something on standard error, which may be the same terminal: above the half-typed
// line. Where standard error does not take what was said before, it is lost.
func (c *client) announce(message string) {
	c.tty.TakeOff()
	c.flush()
	select {
	case <-c.said:
	default:
		return
	}
	said := make(chan struct{})
	c.said = said
	go func() {
		os.Stderr.WriteString(message) // where that fails, nothing can be said about it
		close(said)
	}()
	select {
	case <-said:
	case <-time.After(sayTime):
	}
}

// ---------------------------------------------------------------------------------------------
// 4. Connection
// ---------------------------------------------------------------------------------------------

// connect connects to the first address of the host that answers. Where one fails, or does not
// answer for a while, the next is tried beside it (CLIENT-7).
func connect(ctx context.Context, o *options.Options) (*net.TCPConn, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupNetIP(ctx, "ip", o.Host)
	made, failed := make(chan *net.TCPConn), make(chan error)
	waiting := 0
	for waiting > 0 || len(addresses) > 0 {
		if len(addresses) > 0 {
			go try(ctx, netip.AddrPortFrom(addresses[0].Unmap(), uint16(o.Port)), made, failed)
			addresses = addresses[1:]
			waiting++
		}
		next := time.After(nextTime)
		if len(addresses) == 0 {
			next = nil
		}
		select {
		case conn := <-made:
			return conn, nil
		case err = <-failed:
			waiting--
		case <-next:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return nil, err
}

// try connects to one address; package net sets TCP_NODELAY. Where TCP has connected us to ourselves
// or another address was faster, the connection is closed.
func try(ctx context.Context, address netip.AddrPort, made chan<- *net.TCPConn, failed chan<- error) {
	dialer := net.Dialer{KeepAlive: -1, Control: noticeVanishing}
	conn, err := dialer.DialContext(ctx, "tcp", address.String())
	if err == nil && conn.LocalAddr().String() == conn.RemoteAddr().String() {
		conn.Close()
		err = syscall.ECONNREFUSED
	}
	if err != nil {
		select {
		case failed <- err:
		case <-ctx.Done():
		}
		return
	}
	select {
	case made <- conn.(*net.TCPConn):
	case <-ctx.Done():
		conn.Close()
	}
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

// reason returns the heart of an error of package net, which names the operation and the address.
func reason(err error) string {
	var number syscall.Errno
	var lookup *net.DNSError
	switch {
	case errors.As(err, &number):
		return number.Error()
	case errors.As(err, &lookup):
		return lookup.Err
	case errors.Is(err, context.DeadlineExceeded):
		return syscall.ETIMEDOUT.Error()
	}
	return err.Error()
}

// sendTyped begins to send what was typed, if that is done with what was before; after the end of
// the input it ends our side.
func (c *client) sendTyped() {
	l := c.link
	data := c.outbox
	switch {
	case c.phase == away || l.broken || l.refused || l.ended || l.sending:
	case len(data) > 0:
		l.sending = true
		c.begin(func() func() {
			n, err := l.conn.Write(data)
			return func() { c.onSent(n, err) }
		})
	case c.typedAll && len(c.kept) == 0 && !c.isAway() && !l.sentAll:
		l.broken = l.conn.CloseWrite() != nil
		l.sentAll = !l.broken
	}
}

// onSent takes out of the outbox what was sent. A line of which only a part was sent stays: to a
// server it is none before its end comes.
func (c *client) onSent(n int, err error) {
	c.link.sending = false
	if err != nil {
		c.link.broken = true // what the server said can still be read
		n = bytes.LastIndexByte(c.outbox[:n], '\n') + 1
	}
	c.outbox = c.outbox[n:]
}

// closeInOrder ends our side, and discards what comes until the server ends its own: to close a
// connection with something unread in it would reset it. Others may be at work on it.
func (l *link) closeInOrder() {
	if l.conn != nil {
		l.conn.CloseWrite()
		l.conn.SetDeadline(time.Now().Add(closeTime))
		io.Copy(io.Discard, l.conn) // however it ends
		l.conn.Close()
	}
}

// ---------------------------------------------------------------------------------------------
// 5. From the server
// ---------------------------------------------------------------------------------------------

// hear begins to read what the server sends, if there is room for it.
func (c *client) hear() {
	l := c.link
	if l.conn == nil || l.hearing || l.ended || len(c.tty.Out) >= maxWaiting || !c.tty.MayShow() {
		return
	}
	l.hearing = true
	c.begin(func() func() {
		buffer := make([]byte, readSize)
		n, err := l.conn.Read(buffer)
		return func() {
			if l.hearing = false; l == c.link {
				c.receive(buffer[:n], err)
			}
		}
	})
}

// receive takes what the server has sent, line by line, or learns that it has ended.
func (c *client) receive(data []byte, err error) {
	l := c.link
	for _, piece := range bytes.SplitAfter(data, []byte("\n")) {
		if len(piece) > 0 && !l.refused {
			c.onServer(piece)
		}
	}
	if err == nil {
		return
	}
	l.broken = l.broken || err != io.EOF
	l.ended = true
	c.show(nil, true)
	if c.phase == asked {
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

// takePrompts takes the prompts off the front of the line, and reports whether there was one. The
// user's line end, which ends a prompt on the screen, is not sent back by the server. No user can
// say what looks like a prompt: none is called Password (JOIN-3).
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

// onPrompt sees to it that the prompt that is pending is answered, and a password hidden.
func (c *client) onPrompt() {
	if c.phase == returning && c.name != "" {
		c.answerPrompt()
		return
	}
	if c.phase == returning { // the name is asked anew (BACK-10)
		c.phase = asked
		c.show([]byte(c.link.asked), false)
	}
	c.forgets = false
	if c.link.asked == passwordPrompt {
		c.tty.HideTyping()
		return
	}
	c.showTyping(false)
	if c.answers {
		c.giveName()
	}
}

// giveName answers as --name says, the first time on each connection, until it is refused
// (CLIENT-8).
func (c *client) giveName() {
	if c.link.named {
		c.answers = false
		return
	}
	c.link.named = true
	answer := []byte(c.options.Name + "\n")
	c.passOn(answer)
	c.show(answer, false)
}

// showTyping shows again what is typed. What is half typed of a password is dropped, unless that
// was right (HIDE-2).
func (c *client) showTyping(welcomed bool) {
	if c.tty.Hides() && !welcomed {
		c.tty.DropTyped()
		c.typed = nil
	}
	c.tty.ShowTyping()
}

// onLine follows what happens to us by the server's whole lines.
func (c *client) onLine(line string) {
	welcomed := ""
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
		c.followOthers(line)
	}
}

// enter is called when we are welcomed: it remembers what let us in, and sends what was kept.
// Commands that were typed ahead are no answers to prompts.
func (c *client) enter(name string) {
	l := c.link
	answered := min(l.prompts, len(l.answers))
	c.name = name
	if c.phase == asked && l.asked == passwordPrompt && answered == l.prompts {
		c.proven = secret{name, l.answers[answered-1]}
	}
	c.phase = joined
	for _, line := range l.answers[answered:] {
		c.remember([]byte(line))
	}
	l.answers, c.answers, c.tries = nil, false, 0
	c.showTyping(true)
	kept, half := c.kept, c.typed
	c.kept, c.typed = nil, nil
	c.passOn(kept)
	if len(half) > 0 { // of a line that was begun where typing was hidden
		c.onInput(half, false)
	}
}

// followName learns of a new name, or a new password, of ours. Commands are answered in order.
func (c *client) followName(line string) {
	found := renamed.FindStringSubmatch(line)
	isRenamed := found != nil && found[1] == c.name
	changed := line == "Password changed" || line == "Registered "+c.name
	removed := line == "Unregistered "+c.name
	answered := isRenamed || changed || removed || refusal.MatchString(line)
	if isRenamed {
		c.name = found[2]
	}
	if changed && len(c.offered) > 0 {
		c.proven = secret{c.name, c.offered[0]}
	}
	if removed {
		c.proven = secret{}
	}
	if answered && len(c.offered) > 0 {
		c.offered = c.offered[1:]
	}
}

// followOthers notes who is in the room, for TAB.
func (c *client) followOthers(line string) {
	if found := online.FindStringSubmatch(line); found != nil {
		for _, name := range strings.Split(found[1], ", ") {
			c.tty.Know(name)
		}
	} else if found := renamed.FindStringSubmatch(line); found != nil {
		c.tty.Forget(found[1])
		c.tty.Know(found[2])
	} else if found := named.FindStringSubmatch(line); found != nil {
		switch {
		case found[2] == "left":
			c.tty.Forget(found[1])
		case found[1] != "server" && found[1] != "Commands":
			c.tty.Know(found[1])
		}
	}
}

// goingOn stands for an exit status where there is none yet.
const goingOn = -1

// ending sees how the connection ended, as the server's last line says (CLIENT-5), and returns the
// exit status, or goingOn.
func (c *client) ending() int {
	l := c.link
	switch {
	case l.lastLine == shutdown, goodbye.MatchString(l.lastLine) && !c.isAway():
		return c.giveUp("Disconnected\n", 0)
	case sentAway.MatchString(l.lastLine) && !c.isAway():
		return c.giveUp("Disconnected\n", 1)
	case l.sentAll && !l.broken:
		return 0
	case c.options.Retries == 0, l.sentAll, c.hasNoAnswer():
		c.endRow()
		return c.giveUp("Connection lost\n", 1)
	}
	return c.lose()
}

// ---------------------------------------------------------------------------------------------
// 6. From the keyboard
// ---------------------------------------------------------------------------------------------

// read begins to read standard input, if there is room for it, and not before the name that --name
// gives was sent. A terminal is read only while it is ours.
func (c *client) read() {
	l := c.link
	full := len(c.outbox)+len(c.kept) >= maxWaiting
	early := !c.isAway() && (l.broken || l.ended || c.answers && !l.named)
	if c.reading || c.typedAll || full || early || !c.tty.Ours {
		return
	}
	c.reading = true
	c.begin(func() func() {
		data, ended := c.tty.Read()
		return func() {
			c.reading = false
			c.onInput(data, ended)
		}
	})
}

// onInput takes what the terminal, or the pipe, hands over: keys, or lines. An unfinished last line
// gets its end (CLIENT-1).
func (c *client) onInput(data []byte, ended bool) {
	if c.tty.IsEditing() && !ended {
		if !c.tty.ReadLine(data, c.onEdited) {
			return
		}
		data, ended = nil, true
	}
	c.typed = append(c.typed, data...)
	if ended {
		c.typedAll = true
		c.tty.EndEditing()
		if len(c.typed) > 0 {
			c.typed = append(c.typed, '\n')
		}
	}
	whole := bytes.LastIndexByte(c.typed, '\n') + 1
	if len(c.typed) >= maxWaiting {
		whole = len(c.typed)
	}
	for _, line := range bytes.SplitAfter(c.typed[:whole], []byte("\n")) {
		c.onTyped(line)
	}
	c.typed = c.typed[whole:]
	if c.isAway() && c.hasNoAnswer() {
		c.link.ended = true
	}
}

// onEdited takes a line that was edited, and reports whether the history may have it (HIDE-3).
func (c *client) onEdited(line string) bool {
	found := accountCommand.FindStringSubmatch(line)
	keep := c.name != "" && (found == nil || found[1] == "")
	c.onTyped([]byte(line + "\n"))
	return keep
}

// onTyped puts a line where it belongs.
func (c *client) onTyped(line []byte) {
	switch {
	case len(line) == 0:
	case c.forgets:
		c.forgets = false
	case c.isAway() && isQuit(line):
		c.quits = true
	case c.isAway():
		c.kept = append(c.kept, line...)
	default:
		c.passOn(line)
	}
}

// isQuit reports whether a line is /quit, as a server reads it (CMD-5).
func isQuit(line []byte) bool {
	word, _, _ := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
	return strings.EqualFold(word, "/quit")
}

// passOn sends lines.
func (c *client) passOn(lines []byte) {
	c.outbox = append(c.outbox, lines...)
	for _, line := range bytes.SplitAfter(lines, []byte("\n")) {
		if line, whole := bytes.CutSuffix(line, []byte("\n")); whole {
			c.remember(bytes.TrimSuffix(line, []byte("\r")))
		}
	}
}

// remember keeps a line for as long as it may turn out to be the password that is accepted. One
// that the server drops (FRAME-4 to FRAME-6) is answered otherwise.
func (c *client) remember(line []byte) {
	if c.phase == asked && len(c.link.answers) < maxAnswers {
		c.link.answers = append(c.link.answers, string(line[:min(len(line), maxLine)]))
	}
	found := accountCommand.FindSubmatch(line)
	good := len(line) <= maxLine && utf8.Valid(line) && !bytes.ContainsFunc(line, isControl)
	if c.phase == joined && found != nil && good && len(c.offered) < maxOffers {
		password := ""
		if len(found[1]) > 0 {
			password = string(found[2])
		}
		c.offered = append(c.offered, password)
	}
}

// hasNoAnswer reports whether a prompt for the name would find none, as the input has ended.
func (c *client) hasNoAnswer() bool {
	return c.typedAll && c.name == "" && !c.answers
}

// ---------------------------------------------------------------------------------------------
// 7. Away and back
// ---------------------------------------------------------------------------------------------

// isAway reports whether the connection was lost, and we are not back yet: what is typed is kept.
func (c *client) isAway() bool {
	return c.phase == away || c.phase == returning
}

// lose begins to wait for the next try (BACK-1), or gives up after the last one (BACK-6).
func (c *client) lose() int {
	if c.link.conn != nil {
		c.link.conn.Close()
	}
	c.endRow()
	c.keepUnsent()
	c.phase = away
	c.link = &link{}
	if c.tries == c.options.Retries {
		return c.giveUp(fmt.Sprintf("Giving up after %d attempts\n", c.tries), 1)
	}
	if c.tries++; c.tries == 1 {
		c.delay = c.options.RetryDelay
	} else {
		c.delay *= 2
	}
	c.delay = min(c.delay, maxRetryTime)
	c.announce(fmt.Sprintf("Connection lost, retrying in %s s (%d of %d)\n",
		showSeconds(c.delay), c.tries, c.options.Retries))
	c.deadline = time.Now().Add(c.delay)
	return goingOn
}

// endRow ends the line that the server cannot end any more; but a name may be half typed behind the
// prompt for it.
func (c *client) endRow() {
	if c.tty.Begun() != prompt {
		c.tty.EndRow()
	}
}

// keepUnsent keeps what was typed and not sent, unless it was for prompts: they are not asked
// again. A password that has not been typed yet is for no one (BACK-10).
func (c *client) keepUnsent() {
	l := c.link
	switch c.phase {
	case joined:
		c.kept = c.outbox
		c.offered = nil
		c.tty.ForgetAll()
	case asked:
		c.forgets = l.asked == passwordPrompt && l.prompts > len(l.answers) || len(c.typed) > 0
		c.typed = nil
	}
	c.outbox = nil
}

// tryAgain begins to connect once more.
func (c *client) tryAgain(ctx context.Context) {
	c.trying = true
	c.begin(func() func() {
		conn, _ := connect(ctx, &c.options)
		return func() { c.onTried(conn) }
	})
}

// onTried goes on with the connection, if there is one. The prompt of the last one is forgotten.
func (c *client) onTried(conn *net.TCPConn) {
	c.trying = false
	if conn == nil {
		c.link.ended = true
		return
	}
	c.tty.ForgetRow()
	c.link = &link{conn: conn}
	c.phase = returning
	c.deadline = time.Now().Add(tryTime)
}

// answerPrompt answers in the user's place, each prompt once; any other makes it a failed try.
func (c *client) answerPrompt() {
	l := c.link
	password := c.findPassword()
	switch {
	case l.prompts == 1 && l.asked == prompt:
		c.outbox = append(c.outbox, c.name+"\n"...)
	case l.prompts == 2 && l.asked == passwordPrompt && password != "":
		c.outbox = append(c.outbox, password+"\n"...)
	default:
		c.refuse()
	}
}

// findPassword returns the password for our name, empty where there is none (BACK-3).
func (c *client) findPassword() string {
	if strings.EqualFold(c.proven.name, c.name) {
		return c.proven.password
	}
	return ""
}

// comeBack takes a line of the server's on the way back: the welcome, a refusal, or something to
// show.
func (c *client) comeBack(line, welcomed string) {
	if welcomed != "" && welcomed == c.name {
		c.announce("Reconnected as " + welcomed + "\n")
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

// refuse ends a try that did not bring us back, in order (BACK-5).
func (c *client) refuse() {
	c.link.refused = true
	c.link.conn.CloseWrite()
	c.deadline = time.Now().Add(closeTime)
}

// onDeadline tries again, or ends a try that takes too long.
func (c *client) onDeadline(ctx context.Context) {
	switch {
	case c.phase == away:
		c.tryAgain(ctx)
	case c.link.refused:
		c.link.ended = true
	default:
		c.refuse()
	}
}

// showSeconds writes a time without needless zeros.
func showSeconds(d time.Duration) string {
	text := fmt.Sprintf("%d.%09d", d/time.Second, d%time.Second)
	return strings.TrimSuffix(strings.TrimRight(text, "0"), ".")
}

// giveUp leaves the terminal, and shows the lines that were kept and will not be sent (BACK-9)
// before the last words. It returns the exit status.
func (c *client) giveUp(words string, status int) int {
	c.tty.EndEditing()
	var text strings.Builder
	for _, line := range bytes.SplitAfter(c.kept, []byte("\n")) {
		if len(line) > 0 {
			fmt.Fprintf(&text, "not sent: %s\n", bytes.TrimSuffix(line, []byte("\n")))
		}
	}
	if text.WriteString(words); text.Len() > 0 {
		c.announce(text.String())
	}
	c.kept = nil
	return status
}

// ---------------------------------------------------------------------------------------------
// 8. Loop
// ---------------------------------------------------------------------------------------------

// run passes on what comes, both ways, until it ends for good, and returns the exit status.
func (c *client) run(ctx context.Context) int {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGCONT, syscall.SIGWINCH)
	status := goingOn
	for status == goingOn {
		c.tty.Take()
		c.sendTyped()
		c.draw()
		c.hear()
		c.read()
		switch {
		case c.quits:
			status = c.giveUp("Disconnected\n", 0)
		case c.isOver():
			status = c.ending()
		default:
			status = c.wait(ctx, signals)
		}
	}
	c.giveUp("", status)
	c.flush()
	c.link.closeInOrder()
	return status
}

// isOver reports whether nothing more is to come of the connection. What is being sent may have to
// be interrupted.
func (c *client) isOver() bool {
	if c.link.ended && c.link.sending {
		c.link.conn.Close()
	}
	return c.link.ended && !c.link.sending && c.hasShownAll() && c.tty.MayShow()
}

// wait waits for one thing that happens, and acts on it.
func (c *client) wait(ctx context.Context, signals <-chan os.Signal) int {
	select {
	case <-ctx.Done():
		return 0
	case s := <-signals:
		if s == syscall.SIGWINCH {
			c.tty.Resize()
		} else {
			c.tty.Continue()
		}
	case next := <-c.done:
		next()
	case err := <-c.shown:
		c.showing = false
		if err != nil {
			return 1 // standard output is gone
		}
	case <-c.untilDeadline():
		c.onDeadline(ctx)
	case <-c.tty.UntilLook():
	}
	return goingOn
}

// untilDeadline returns what comes when it is time for the next try, or for the end of one.
func (c *client) untilDeadline() <-chan time.Time {
	if !c.isAway() || c.trying || c.link.ended {
		return nil
	}
	return time.After(time.Until(c.deadline))
}

// ---------------------------------------------------------------------------------------------
// 9. Start and stop
// ---------------------------------------------------------------------------------------------

// catchSignals returns a context that ends at the first signal that is to end the program. A second
// one, or an end that takes too long, ends it at once. What was blocked is unblocked by package
// signal; what was ignored stays so, SIGTERM excepted (PROG-10).
func catchSignals(tty *terminal.Terminal) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Ignore(syscall.SIGPIPE) // a write to a closed standard output fails, and run sees it
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGVTALRM, syscall.SIGXCPU} {
		if !signal.Ignored(s) {
			signal.Notify(signals, s)
		}
	}
	signal.Notify(signals, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		select {
		case <-signals:
		case <-time.After(endTime):
		}
		tty.Restore()
		os.Exit(0)
	}()
	return ctx
}

func main() {
	tty := terminal.Open()
	ctx := catchSignals(tty)
	o := options.ParseOptions(os.Args[1:])
	conn, err := connect(ctx, &o)
	switch {
	case err != nil && ctx.Err() != nil:
		return // the user did not want to wait
	case err != nil:
		fmt.Fprintf(os.Stderr, "cannot connect to %s: %s\n", o.Address(), reason(err))
		os.Exit(1)
	}
	os.Exit(newClient(o, tty, conn).run(ctx))
}
