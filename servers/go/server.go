// Command server is a chat server: one room, many users, lines of text over TCP. PROTOCOL.md is
// its contract.
//
//	go run server.go                listens on 127.0.0.1:8080
//	go run server.go --help         lists the options
//
// The way of a message, and of this file:
//
//	socket -> inbox -> line -> action -> the room's stream / a user's own text -> socket
//
// What holds everywhere:
//
//  1. Only the section "Sockets" receives from, sends to, or closes a connection.
//  2. To speak is to append: to the room's stream, which all users read, or to one user's cursor in
//     it. Nothing is sent from a handler.
//  3. No user is freed inside a handler: it is marked, and reaped at the end of the round.
//  4. Names are unique, case aside, among those in the room.
//  5. Text is bytes. It is checked once, and relayed as it came.
//
// One goroutine, the owner, runs main and nearly all else. Only the owner touches the state, so
// there is no mutex here. Each of the other goroutines waits for one thing (a newcomer, input, room
// in a socket, a worker, the console, a signal), and then sends the owner a function that says what
// to do about it. Thus the owner waits for these events only, and silent users cause no work.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unicode/utf8"

	"chat/server/accounts"
	chatlog "chat/server/log"
	"chat/server/options"
	"chat/server/stream"

	"golang.org/x/sys/unix"
)

// ---------------------------------------- 1. Limits -----------------------------------------

const (
	maxName     = 32               // bytes of a name
	maxLine     = 1024             // bytes of a line, its end not counted
	maxRefusals = 5                // refused names on one connection; the last ends it
	maxWrong    = 3                // wrong passwords on one connection; the last ends it
	minPassword = 8                // bytes of a new password
	maxInbox    = 64*1024 + 1      // bytes held of a user's input: 64 KiB, and one to notice its end
	maxGarbage  = 32 * 1024 * 1024 // bytes of memory that may be garbage, about
	maxConsole  = 256              // bytes of the console in one event: few, as a user's queue may be
	roundSize   = 256 * 1024       // bytes taken up and said in a round, before all are sent theirs
	roundEvents = 256              // events taken in a round, likewise
	sendPieces  = 64               // pieces sent in one system call
)

const (
	lingerTime  = time.Second            // for a user that the server dismisses
	drainTime   = 10 * time.Second       // for a user whose client has ended its side
	finishTime  = 500 * time.Millisecond // at a shutdown, for what was read before
	pendingTime = 250 * time.Millisecond // for lines to write, before the process ends
	acceptPause = 100 * time.Millisecond // without accepting, when the descriptors have run out
	tick        = 10 * time.Millisecond  // between two sweeps
	never       = time.Duration(math.MaxInt64)
)

// ----------------------------------------- 2. Types -----------------------------------------

// A phase is where a connection is in its life.
type phase int

const (
	naming    phase = iota // asked for a name
	password               // asked for the password of that name
	chatting               // in the room
	leaving                // out of the room: its queue goes out, what still comes is discarded
	lingering              // our side is ended: what still comes is discarded until its side ends
	gone                   // to be reaped
)

// A gateState is whether a user's next line is taken up now, and if not, why.
type gateState int

const (
	open      gateState = iota
	full                // much waits for the user: its own commands never drop it (LIMIT-6)
	throttled           // it has said as much as --rate allows (LIMIT-5)
	busy                // a worker has a job of its, or will have (ACCT-12)
	closed              // it is leaving, or gone
)

// A proof is an account that a connection has proven to be its own: lower name, and hash.
type proof struct{ name, hash string }

// A user is one connection.
type user struct {
	conn     *net.TCPConn
	raw      syscall.RawConn // to wait for it
	socket   int             // its descriptor, which is good until `reap` closes it
	addr     string          // for the log
	phase    phase
	name     string        // or the one that it wants, while asked for the password
	inbox    []byte        // what was received and is not yet taken up
	cursor   stream.Cursor // what waits to be sent to it
	refusals int
	wrong    int
	proven   proof
	job      *accounts.Job // which a worker does for it, or will do
	deadline time.Duration // when the time for its phase is up
	left     time.Duration // until then, while a check has set the deadline aside
	due      time.Duration // for --rate: when its next line may be taken up
	reply    int           // bytes of memory that its last /who took, while they wait

	ended      bool // its client has ended its side
	queued     bool // is in server.queue
	awaitsData bool // awaitInput is at work
	awaitsRoom bool // the kernel takes no more for it at present: awaitRoom is at work
}

// A server is everything.
type server struct {
	options  options.Options
	listener *net.TCPListener
	address  string
	events   chan func()        // what has happened, as what the owner has to do about it
	accounts *accounts.Accounts // nil: no name is one
	output   *chatlog.Sink
	errors   *chatlog.Sink
	log      *chatlog.Log

	stream      *stream.Stream     // what the room says
	news        stream.Cursor      // what all are still to be sent of it
	users       map[string]*user   // the room, by lower name
	connections map[*user]struct{} // all but those who are gone
	counted     int                // those of them that --max-clients counts (LIMIT-2)
	gone        []*user            // to be reaped

	queue   []*user // to be heard, the first in first, and flushed, besides the room's news
	load    int     // bytes taken up and said since all were last sent them
	buffer  []byte  // to receive with
	console []byte  // an inbox, from standard input

	began    time.Time     // all other times are counted from then
	now      time.Duration // when the round began
	alarm    *time.Timer   // for the next sweep
	sweepAt  time.Duration // when that is
	mustStop bool          // a signal or the operator wants it
	stopping bool          // no one is let in any more
}

// ----------------------------------------- 3. Lines -----------------------------------------

// takeLine takes the next whole line of an inbox, without its end, if there is one.
//
// Of a line that is too long only so much is kept as shows that it is: it cannot fill memory.
func takeLine(inbox *[]byte) (string, bool) {
	line, rest, isLine := bytes.Cut(*inbox, []byte("\n"))
	if !isLine {
		*inbox = slices.Clone(line[:min(len(line), maxLine+2)])
		return "", false
	}
	*inbox = rest // what is before it is moved out once for many lines
	if len(rest) == 0 {
		*inbox = nil
	}
	return strings.TrimSuffix(string(line), "\r"), true
}

// hasLine tells whether an inbox has a whole line, or so much of one that it has to be cut.
func hasLine(inbox []byte) bool {
	return bytes.IndexByte(inbox, '\n') >= 0 || len(inbox) == maxInbox
}

// checkLine says what is wrong with a line, if anything is (FRAME-4 to FRAME-6, in that order).
func checkLine(line string) string {
	switch {
	case len(line) > maxLine:
		return fmt.Sprintf("! line too long (limit %d bytes)\n", maxLine)
	case !utf8.ValidString(line):
		return "! not valid UTF-8\n"
	case strings.ContainsFunc(line, isControl):
		return "! control characters are not allowed\n"
	}
	return ""
}

// isControl tells whether a character is one of C0 except TAB, DEL and C1, or of those that break
// a line or turn its direction on the screen.
func isControl(r rune) bool {
	return r < ' ' && r != '\t' || r >= 0x7f && r <= 0x9f ||
		r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

func trim(text string) string {
	return strings.Trim(text, " \t")
}

// isBlank tells whether a text is empty, or only spaces and tabs.
func isBlank(text string) bool {
	return trim(text) == ""
}

// lower gives a text in lower case, as far as it is ASCII. (strings.ToLower would make the Kelvin
// sign a k, and so let it pass for a user's name.)
func lower(text string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r - 'A' + 'a'
		}
		return r
	}, text)
}

// ----------------------------------------- 4. Room ------------------------------------------

const nameLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

func (s *server) find(name string) *user {
	return s.users[lower(name)]
}

// broadcast says a line to everyone in the room except its sender, and to the operator.
func (s *server) broadcast(line string, sender *user) {
	s.load += len(line)
	s.stream.Append(line)
	if sender != nil {
		sender.cursor.Skip(len(line))
	}
	if !s.options.Quiet {
		s.output.Put(line)
	}
}

// say broadcasts a line that is a message (CHAT-1, CHAT-5).
func (s *server) say(name, line string, sender *user) {
	text := strings.TrimPrefix(line, "/")
	s.broadcast(name+": "+text+"\n", sender)
	s.log.LogEvent("message", "name", name, "text", text)
}

// tell says something to one user alone.
func (s *server) tell(u *user, text string) {
	s.load += len(text)
	u.cursor.Insert(text)
	s.touch(u)
}

// touch lets a user be heard, after all who wait for that already, and then flushed.
func (s *server) touch(u *user) {
	if !u.queued {
		u.queued = true
		s.queue = append(s.queue, u)
	}
}

// nameIsValid tells whether a name is made as JOIN-2 wants it.
func nameIsValid(name string) bool {
	return name != "" && len(name) <= maxName && strings.Trim(name, nameLetters) == ""
}

// nameError says why a user cannot have a name, if so (JOIN-2, JOIN-3, ACCT-6; for /nick too).
func (s *server) nameError(u *user, name string) string {
	if !nameIsValid(name) {
		return fmt.Sprintf("! invalid name: use 1 to %d letters, digits, \"_\" or \"-\"\n", maxName)
	}
	owner := s.find(name)
	isRecased := owner == u && name != u.name
	isReserved := lower(name) == "server" || lower(name) == "password"
	switch {
	case isReserved || owner != nil && !isRecased:
		return "! name in use: " + name + "\n"
	case s.options.MembersOnly && s.accounts.HashOf(name) == "":
		return "! name not registered: " + name + "\n"
	}
	return ""
}

// hasProven tells whether a name is an account, and the one that the user has proven (ACCT-5).
func (s *server) hasProven(u *user, name string) bool {
	hash := s.accounts.HashOf(name)
	return hash != "" && u.proven == proof{lower(name), hash}
}

// enter lets a user into the room. The notice is said before it can hear: it is for the others.
func (s *server) enter(u *user, name string) {
	s.broadcast(name+" has joined the chat\n", nil)
	u.phase, u.name = chatting, name
	if !u.ended {
		u.deadline = never
	}
	s.users[lower(name)] = u
	u.cursor.Attach()
	welcome := "Welcome, %s (%d online). Type /help for commands.\n"
	s.tell(u, fmt.Sprintf(welcome, name, len(s.users)))
	s.log.LogEvent("join", "name", name, "addr", u.addr)
}

// leave takes a user out of the room: its name is free, and the others are told; the log says why.
func (s *server) leave(u *user, reason string) {
	delete(s.users, lower(u.name))
	u.cursor.Detach()
	s.broadcast(u.name+" has left the chat\n", nil)
	s.log.LogEvent("leave", "name", u.name, "addr", u.addr, "reason", reason)
}

// --------------------------------------- 5. Commands ----------------------------------------

const (
	unknownCommand = "! unknown command: /%s (try /help)\n"
	unchanged      = "! accounts cannot be changed now\n"
)

func (s *server) cmdHelp(u *user, _ string) {
	words := ""
	if s.accounts != nil {
		words = "/register PASSWORD, /passwd PASSWORD, /unregister, "
	}
	s.tell(u, "Commands: /help, /who, /msg NAME TEXT, /nick NAME, "+words+
		"/quit (// to begin a message with /)\n")
}

// cmdWho is /who: all in the room. That may be more than LIMIT-1 lets wait, and drops no one.
func (s *server) cmdWho(u *user, _ string) {
	before := u.cursor.Waiting()
	s.tell(u, s.whoLines())
	u.reply = u.cursor.Waiting() - before
}

// whoLines lists all in the room, on as many lines as that takes (CMD-2).
func (s *server) whoLines() string {
	var lines []string
	head := fmt.Sprintf("Online (%d): ", len(s.users))
	line := head
	for _, key := range slices.Sorted(maps.Keys(s.users)) {
		name := s.users[key].name
		if len(line)+len(", ")+len(name) > maxLine {
			lines = append(lines, line)
			line = head
		}
		if line != head {
			line += ", "
		}
		line += name
	}
	return strings.Join(append(lines, line, ""), "\n")
}

// cmdMsg is /msg NAME TEXT: for one other user only.
func (s *server) cmdMsg(u *user, rest string) {
	name, text, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	text = strings.TrimLeft(text, " ")
	other := s.find(name)
	switch {
	case name == "" || isBlank(text):
		s.tell(u, "! usage: /msg NAME TEXT\n")
	case other == nil:
		s.tell(u, "! no such user: "+name+"\n")
	case other == u:
		s.tell(u, "! cannot message yourself\n")
	default:
		s.tell(other, "(private) "+u.name+": "+text+"\n")
		s.log.LogEvent("private", "name", u.name, "to", other.name)
	}
}

// cmdNick is /nick NAME: another name.
func (s *server) cmdNick(u *user, rest string) {
	name := trim(rest)
	problem := s.nameError(u, name)
	if problem == "" && s.accounts.HashOf(name) != "" && !s.hasProven(u, name) {
		problem = "! name registered: " + name + "\n"
	}
	if problem != "" {
		s.tell(u, problem)
		return
	}
	delete(s.users, lower(u.name))
	s.users[lower(name)] = u
	s.broadcast(u.name+" is now known as "+name+"\n", nil)
	s.log.LogEvent("rename", "name", u.name, "to", name)
	u.name = name
}

// cmdRegister is /register PASSWORD: the user's name becomes an account.
func (s *server) cmdRegister(u *user, rest string) {
	s.changeAccount(u, accounts.Register, rest, s.accounts.HashOf(u.name) == "")
}

// cmdPasswd is /passwd PASSWORD: another password for the user's account.
func (s *server) cmdPasswd(u *user, rest string) {
	s.changeAccount(u, accounts.Passwd, rest, s.hasProven(u, u.name))
}

// cmdUnregister is /unregister: the user's name is an account no longer.
func (s *server) cmdUnregister(u *user, _ string) {
	s.changeAccount(u, accounts.Unregister, "", s.hasProven(u, u.name))
}

// changeAccount lets a worker change the user's account, if the user may do that. Its next lines
// wait for the answer.
func (s *server) changeAccount(u *user, task accounts.Task, rest string, mayDo bool) {
	given := strings.TrimLeft(rest, " ")
	isGood := len(given) >= minPassword && len(given) <= accounts.MaxPassword
	if !mayDo {
		s.tell(u, strings.Replace(answers[task].refused, "NAME", u.name, 1))
	} else if !isGood && task != accounts.Unregister {
		s.tell(u, fmt.Sprintf("! password must be %d to %d bytes\n", minPassword, accounts.MaxPassword))
	} else if u.job = s.accounts.Change(u, task, u.name, given); u.job == nil {
		s.tell(u, unchanged)
	}
}

// answers are what is said once an account is changed, and where it is there already, or not there.
var answers = map[accounts.Task]struct{ done, refused string }{
	accounts.Register:   {"Registered NAME\n", "! already registered: NAME\n"},
	accounts.Passwd:     {"Password changed\n", "! not registered: NAME\n"},
	accounts.Unregister: {"Unregistered NAME\n", "! not registered: NAME\n"},
}

// accountChanged tells a user what came of its /register, /passwd or /unregister.
func (s *server) accountChanged(u *user, job *accounts.Job) {
	answer := unchanged
	switch {
	case job.Done:
		answer = answers[job.Task].done
		u.proven = proof{lower(job.Name), job.NewHash}
	case job.Err == nil:
		answer = answers[job.Task].refused
	}
	s.tell(u, strings.Replace(answer, "NAME", job.Name, 1))
}

func (s *server) cmdQuit(u *user, _ string) {
	s.tell(u, "Goodbye, "+u.name+"\n")
	s.dismiss(u, "quit")
}

var commands = map[string]struct {
	carryOut      func(s *server, u *user, rest string)
	needsAccounts bool
}{
	"help":       {(*server).cmdHelp, false},
	"who":        {(*server).cmdWho, false},
	"msg":        {(*server).cmdMsg, false},
	"nick":       {(*server).cmdNick, false},
	"quit":       {(*server).cmdQuit, false},
	"register":   {(*server).cmdRegister, true},
	"passwd":     {(*server).cmdPasswd, true},
	"unregister": {(*server).cmdUnregister, true},
}

// splitCommand splits "/WORD REST" into WORD and REST, or tells that a line is a message.
func splitCommand(line string) (word, rest string, isCommand bool) {
	if !strings.HasPrefix(line, "/") || strings.HasPrefix(line, "//") {
		return "", "", false
	}
	word, rest, _ = strings.Cut(line[1:], " ")
	return word, rest, true
}

// ----------------------------------- 6. Lines to actions ------------------------------------

const (
	namePrompt     = "Enter your screen name: "
	passwordPrompt = "Password: "
)

// gate tells whether a user's next line is taken up now, and if not, why.
func (s *server) gate(u *user) gateState {
	switch {
	case u.phase > chatting:
		return closed
	case u.job != nil:
		return busy
	case u.phase < chatting:
		return open
	case u.cursor.Waiting() > s.options.MaxQueue/2:
		return full
	case s.now < u.due:
		return throttled
	}
	return open
}

// takeUp acts on a user's whole lines, as long as its gate is open and this round can bear more.
func (s *server) takeUp(u *user) {
	for s.mayHear() && s.gate(u) == open {
		line, isLine := takeLine(&u.inbox)
		if !isLine {
			break
		}
		s.load += len(line) + 1
		if s.options.Rate > 0 && u.phase == chatting { // up to a second's worth may come at once
			share := time.Second / time.Duration(s.options.Rate)
			u.due = max(u.due, s.now+share-time.Second) + share
		}
		s.handleLine(u, line)
	}
}

func (s *server) handleLine(u *user, line string) {
	switch u.phase {
	case naming:
		s.handleName(u, line)
	case password:
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
	} else if s.accounts.HashOf(name) != "" {
		u.phase, u.name = password, name
		s.tell(u, passwordPrompt)
	} else {
		s.enter(u, name)
	}
}

// refuseName says why a name is refused, and asks again, but not for ever (JOIN-7).
func (s *server) refuseName(u *user, reason, problem string) {
	u.refusals++
	s.askAgain(u, reason, problem, namePrompt, u.refusals < maxRefusals)
}

// handlePassword takes a line, as it is, as the answer to the prompt for a password.
func (s *server) handlePassword(u *user, line string) {
	if problem := checkLine(line); problem != "" {
		s.refusePassword(u, "line", problem)
	} else {
		if !u.ended { // JOIN-8: the time to join stops
			u.left, u.deadline = u.deadline-s.now, never
		}
		u.job = s.accounts.Check(u, u.name, line)
	}
}

// passwordChecked lets a user in whose password was right, unless by now it cannot have the name.
// The password was right for the account with that hash: any other may be another person's.
func (s *server) passwordChecked(u *user, job *accounts.Job) {
	if !u.ended {
		s.setDeadline(u, u.left)
	}
	if !job.Done || s.accounts.HashOf(job.Name) != job.Hash {
		s.refusePassword(u, "password", "! wrong password\n")
		return
	}
	u.proven = proof{lower(job.Name), job.Hash}
	if problem := s.nameError(u, job.Name); problem != "" {
		u.phase = naming
		s.refuseName(u, "name", problem)
	} else {
		s.enter(u, job.Name)
	}
}

// refusePassword is refuseName for a password (ACCT-2).
func (s *server) refusePassword(u *user, reason, problem string) {
	u.wrong++
	s.askAgain(u, reason, problem, passwordPrompt, u.wrong < maxWrong)
}

// askAgain says what was wrong with an answer, and asks once more, or ends the connection.
func (s *server) askAgain(u *user, reason, problem, prompt string, mayTry bool) {
	s.log.LogEvent("refuse", "addr", u.addr, "reason", reason)
	if mayTry {
		s.tell(u, problem+prompt)
	} else {
		s.tell(u, problem+"! too many attempts\n")
		s.dismiss(u, "")
	}
}

// handleChat takes a line as a message or a command.
func (s *server) handleChat(u *user, line string) {
	word, rest, isCommand := splitCommand(line)
	if problem := checkLine(line); problem != "" {
		s.log.LogEvent("refuse", "addr", u.addr, "reason", "line")
		s.tell(u, problem)
	} else if isCommand {
		s.handleCommand(u, word, rest)
	} else if !isBlank(line) {
		s.say(u.name, line, u)
	}
}

func (s *server) handleCommand(u *user, word, rest string) {
	command, isKnown := commands[lower(word)]
	if !isKnown || command.needsAccounts && s.accounts == nil {
		s.tell(u, fmt.Sprintf(unknownCommand, word))
	} else {
		command.carryOut(s, u, rest)
	}
}

// jobDone acts on what a worker has done. The file may have changed though the user is gone.
func (s *server) jobDone(job *accounts.Job) {
	s.accounts.Finished(job)
	if job.Err != nil {
		s.log.LogEvent("error", "error", job.Err.Error())
	} else if job.Done && job.Task != accounts.Check {
		s.log.LogEvent("account", "name", job.Name, "reason", string(job.Task))
	}
	u, isUser := job.Owner.(*user)
	if !isUser || s.gate(u) == closed {
		return
	}
	u.job = nil
	if job.Task == accounts.Check {
		s.passwordChecked(u, job)
	} else {
		s.accountChanged(u, job)
	}
	s.touch(u)
}

// mayHear tells whether this round can bear more. When it cannot, all must first be sent what came
// of it. Otherwise a user who reads well could be dropped, since it was given no chance to read.
func (s *server) mayHear() bool {
	return s.load <= min(roundSize, s.options.MaxQueue/2)
}

// ---------------------------------------- 7. Console ----------------------------------------

func (s *server) opHelp(_ string) {
	s.output.Put("Commands: /help, /who, /kick NAME, /shutdown (// to begin an announcement with /)\n")
}

func (s *server) opWho(_ string) {
	s.output.Put(s.whoLines())
}

func (s *server) opKick(rest string) {
	name := trim(rest)
	u := s.find(name)
	switch {
	case name == "":
		s.output.Put("! usage: /kick NAME\n")
	case u == nil:
		s.output.Put("! no such user: " + name + "\n")
	default:
		s.tell(u, "! kicked by the operator\n")
		s.dismiss(u, "kick")
	}
}

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
	word, rest, isCommand := splitCommand(line)
	command := opCommands[lower(word)]
	if problem := checkLine(line); problem != "" {
		s.output.Put(problem)
	} else if command != nil {
		command(s, rest)
	} else if isCommand {
		s.output.Put(fmt.Sprintf(unknownCommand, word))
	} else if !isBlank(line) {
		s.say("server", line, nil)
	}
}

// takeConsole acts on what the operator has typed, but not on what came behind /shutdown.
func (s *server) takeConsole(text []byte) {
	s.console = append(s.console, text...)
	for {
		line, isLine := takeLine(&s.console)
		if !isLine || s.mustStop {
			return
		}
		s.consoleLine(line)
	}
}

// readConsole brings what the operator types to the owner. It is one goroutine, and ends with
// standard input; a line that is not whole then is none.
func (s *server) readConsole() {
	for {
		buffer := make([]byte, maxConsole)
		n, err := os.Stdin.Read(buffer)
		if err != nil {
			return
		}
		s.events <- func() { s.takeConsole(buffer[:n]) }
	}
}

// ---------------------------------------- 8. Sockets ----------------------------------------

// acceptUsers brings newcomers to the owner. It is one goroutine, and ends with the listener.
func (s *server) acceptUsers() {
	for isTroubled := false; ; {
		conn, err := s.listener.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		} else if err == nil {
			s.events <- func() { s.greet(conn) }
		} else if !isTroubled {
			problem := "cannot accept connections: " + err.Error()
			s.events <- func() { s.log.LogEvent("error", "error", problem) }
		}
		isTroubled = err != nil
		if isTroubled { // out of descriptors or memory: try again, but not all the time (LIMIT-3)
			time.Sleep(acceptPause)
		}
	}
}

// greet asks a newcomer for its name, if there is room.
func (s *server) greet(conn *net.TCPConn) {
	u := &user{conn: conn, addr: showAddress(conn.RemoteAddr())}
	u.cursor.Stream = s.stream
	u.raw, _ = conn.SyscallConn() // fails only for a connection that is none
	u.raw.Control(func(socket uintptr) { u.socket = int(socket) })
	s.log.LogEvent("connect", "addr", u.addr)
	s.connections[u] = struct{}{}
	s.counted++
	switch {
	case s.stopping: // it was accepted just before the listener was closed
		s.tell(u, shutdownNotice)
		s.dismiss(u, "")
	case s.counted > s.options.MaxClients:
		s.log.LogEvent("refuse", "addr", u.addr, "reason", "full")
		s.tell(u, "! server full\n")
		s.dismiss(u, "")
	default:
		s.tell(u, namePrompt)
		s.setDeadline(u, s.options.JoinTimeout)
	}
}

// setDeadline gives a user so much time from now on.
func (s *server) setDeadline(u *user, after time.Duration) {
	u.deadline = s.now + after
	s.sweepBy(u.deadline)
}

// awaitInput waits until something has come from a user. It is a goroutine.
func (s *server) awaitInput(u *user) {
	u.raw.Read(func(socket uintptr) bool { return isReady(socket, unix.POLLIN) })
	s.events <- func() {
		u.awaitsData = false
		s.receive(u)
	}
}

// awaitRoom waits until the kernel takes more for a user. It is a goroutine.
func (s *server) awaitRoom(u *user) {
	u.raw.Write(func(socket uintptr) bool { return isReady(socket, unix.POLLOUT) })
	s.events <- func() {
		u.awaitsRoom = false
		s.touch(u)
	}
}

// isReady tells whether a socket can be read from or written to at once; one that is broken can.
func isReady(socket uintptr, event int16) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(socket), Events: event}}, 0)
	return n > 0 || err != nil && err != syscall.EINTR
}

// receive takes what has come from a user; it is acted on when the user's turn comes.
func (s *server) receive(u *user) {
	if u.phase == gone {
		return
	}
	n, err := unix.Read(u.socket, s.buffer[:maxInbox-len(u.inbox)])
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
	case err != nil:
		s.drop(u, "reset")
	case n == 0:
		s.hangUp(u)
	case s.gate(u) != closed:
		u.inbox = slices.Concat(u.inbox, s.buffer[:n])
	}
	s.touch(u)
}

// flush sends what waits for a user, and sees how it stands then. Where the kernel takes no more,
// the user is left alone until it does; only before a drop all is offered once more (LIMIT-1).
func (s *server) flush(u *user) {
	if u.phase == gone {
		return
	}
	var err error
	if !u.awaitsRoom || s.isBehind(u) {
		err = s.send(u)
	}
	switch {
	case err != nil:
		s.drop(u, "reset")
	case s.isBehind(u):
		s.drop(u, "slow")
	case u.phase != leaving || u.cursor.Waiting() > 0: // it goes on
	case u.ended || u.conn.CloseWrite() != nil:
		s.drop(u, "")
	default: // its queue is out, and our side is ended
		u.phase = lingering
		s.counted--
	}
	s.watch(u)
}

// watch starts to wait for what a user needs next. A user who had to pause goes on with its lines.
// At a shutdown nothing more is read from those who are still to be heard.
func (s *server) watch(u *user) {
	if u.phase == gone {
		return
	}
	gate := s.gate(u)
	isWanted := gate == closed || !s.mustStop
	if isWanted && !u.awaitsData && !u.ended && len(u.inbox) < maxInbox {
		u.awaitsData = true
		go s.awaitInput(u)
	}
	if u.cursor.Waiting() > 0 && !u.awaitsRoom {
		u.awaitsRoom = true
		go s.awaitRoom(u)
	}
	isMore := hasLine(u.inbox)
	switch {
	case isMore && gate == open:
		s.touch(u)
	case isMore && gate == throttled:
		s.sweepBy(u.due)
	case !isMore && u.ended && gate < busy: // all is said
		s.retire(u, "eof")
	}
}

// send sends what waits for a user, as far as the kernel takes it now.
func (s *server) send(u *user) error {
	u.cursor.Advance(0)
	for u.cursor.Waiting() > 0 {
		n, err := unix.Writev(u.socket, u.cursor.Pieces(sendPieces))
		if err == syscall.EAGAIN {
			break
		}
		if err != nil {
			return err
		}
		u.cursor.Advance(n)
	}
	if u.cursor.Waiting() <= s.options.MaxQueue {
		u.reply = 0
	}
	return nil
}

// isBehind tells whether more waits for a user than may (LIMIT-1).
func (s *server) isBehind(u *user) bool {
	return u.phase == chatting && u.cursor.Waiting() > s.options.MaxQueue+u.reply
}

// dismiss ends a connection kindly: its queue goes out first (LEAVE-4).
func (s *server) dismiss(u *user, reason string) {
	s.retire(u, reason)
	s.setDeadline(u, lingerTime)
}

// hangUp takes note of the end of a client's side: its lines are acted on and its queue goes out
// first (LEAVE-2).
func (s *server) hangUp(u *user) {
	u.ended = true
	if u.phase == lingering {
		s.drop(u, "")
	} else if s.gate(u) != closed {
		s.setDeadline(u, drainTime)
	}
}

// retire takes a user out of the room, or from the prompt; what it still says is discarded.
func (s *server) retire(u *user, reason string) {
	if u.job != nil {
		u.job.Forget()
	}
	if u.phase == chatting {
		s.leave(u, reason)
	}
	u.phase = leaving
	u.inbox = nil
	s.touch(u)
}

// drop ends a connection now, whatever waits for it. A user in the room has a reason.
func (s *server) drop(u *user, reason string) {
	if u.phase == gone {
		return
	}
	if u.phase != lingering {
		s.counted--
	}
	u.cursor.Clear()
	s.retire(u, reason)
	u.phase, u.deadline = gone, never
	delete(s.connections, u)
	s.gone = append(s.gone, u)
}

// reap closes the connections of those who are gone, which ends their goroutines.
func (s *server) reap() {
	for _, u := range s.gone {
		u.conn.Close()
	}
	s.gone = nil
}

// ----------------------------------------- 9. Loop ------------------------------------------

// run serves until the server is stopped and everyone is gone. All of the server's methods, except
// those that say otherwise, are called by its goroutine alone.
func (s *server) run() {
	for !s.stopping || len(s.connections) > 0 {
		s.oneRound()
	}
}

// oneRound waits for something to do, does it, and sends everyone what came of it.
func (s *server) oneRound() {
	s.output.Flush()
	s.log.Flush()
	act := func() {}
	if len(s.queue) == 0 {
		act = <-s.events
	}
	runtime.Gosched() // others who have something for us bring it first: all is sent at once
	s.now = time.Since(s.began)
	act()
	for n := 0; n < roundEvents && len(s.events) > 0 && s.mayHear(); n++ {
		(<-s.events)()
	}
	s.takeTurns()
	if s.mustStop && !s.stopping {
		s.stop()
	}
	s.flushAll()
	s.reap()
}

// takeTurns hears those in the queue, one after the other; the rest are first next time.
func (s *server) takeTurns() {
	heard := 0
	for ; heard < len(s.queue) && s.mayHear(); heard++ {
		s.takeUp(s.queue[heard])
	}
	s.queue = slices.Concat(s.queue[heard:], s.queue[:heard])
}

// flushAll flushes all for whom something waits: the room, where it spoke, and those in the queue.
// Those who are dropped are in the next queue, so that the news of it does not wait either.
func (s *server) flushAll() {
	s.load = 0
	s.sendNews()
	users := s.queue
	s.queue = nil
	for _, u := range users {
		u.queued = false
		s.flush(u)
	}
}

// sendNews sends the room its new text: the same pieces, by one system call, to all who have been
// sent all before it. The others are few; they are flushed.
func (s *server) sendNews() {
	length := s.news.Waiting()
	if length == 0 {
		return
	}
	pieces := s.news.Pieces(sendPieces)
	for _, u := range s.users {
		n := 0
		if u.cursor.IsLevelWith(&s.news) && !u.awaitsRoom {
			n, _ = unix.Writev(u.socket, pieces) // after an error the next attempt shows it
			u.cursor.Advance(max(0, n))
		}
		if n < length {
			s.touch(u)
		}
	}
	s.news.Advance(length)
}

// sweepBy makes sure that there is a sweep at a time, or soon after.
func (s *server) sweepBy(at time.Duration) {
	at = max(at, s.now+tick)
	if at < s.sweepAt {
		s.sweepAt = at
		s.alarm.Reset(at - s.now)
	}
}

// sweep sees to all whose time is up, and to those who may be throttled no longer.
func (s *server) sweep() {
	s.sweepAt = never
	for u := range s.connections {
		if u.deadline <= s.now {
			s.expire(u)
		}
		s.sweepBy(u.deadline)
		if hasLine(u.inbox) {
			s.touch(u)
		}
	}
}

// expire ends a connection that has had its time.
func (s *server) expire(u *user) {
	switch {
	case u.phase > chatting:
		s.drop(u, "")
	case u.ended: // too many of its lines are left, or a job
		s.dismiss(u, "eof")
	default:
		s.log.LogEvent("refuse", "addr", u.addr, "reason", "timeout")
		s.tell(u, "\n! timed out\n")
		s.dismiss(u, "")
	}
}

// ------------------------------------ 10. Start and stop ------------------------------------

const shutdownNotice = "Server is shutting down\n"

// fail ends the program. Standard error may be full and not read: it is not waited for long.
func (s *server) fail(status int, message string) {
	s.errors.Put(message)
	s.errors.Finish(time.Now().Add(pendingTime))
	os.Exit(status)
}

// start opens accounts, log and door, and says so, or ends the program.
func (s *server) start() {
	var err error
	if s.options.HasAccounts {
		report := func(job *accounts.Job) { s.events <- func() { s.jobDone(job) } }
		s.accounts, err = accounts.Open(s.options.Accounts, nameIsValid, report)
	}
	if err == nil && s.options.HasLog {
		s.log, err = chatlog.OpenLog(s.options.Log, s.errors)
	}
	if err != nil {
		s.fail(1, err.Error()+"\n")
	}
	address := net.JoinHostPort(s.options.Host, strconv.Itoa(s.options.Port))
	if s.listener, err = listenOn(address); err != nil {
		s.fail(1, fmt.Sprintf("cannot listen on %s: %s\n", address, err))
	}
	s.address = showAddress(s.listener.Addr())
	s.log.LogEvent("start", "addr", s.address)
	s.output.Put("Listening on " + s.address + "\n")
	go s.acceptUsers()
	go s.readConsole()
}

// stop begins the end: says so to everyone, after all that was said before, and dismisses them.
func (s *server) stop() {
	s.listener.Close()
	s.finishTurns()
	s.stopping = true
	s.broadcast(shutdownNotice, nil)
	s.log.LogEvent("shutdown", "addr", s.address)
	for u := range s.connections {
		if u.phase < chatting && u.job == nil { // else no prompt is pending
			s.tell(u, "\n")
		}
		if u.phase < chatting {
			s.tell(u, shutdownNotice)
		}
		if u.phase <= chatting {
			u.phase = leaving // without `leave`, so without a notice
			s.retire(u, "")
		}
		s.setDeadline(u, lingerTime) // STOP-3
	}
	clear(s.users)
}

// finishTurns acts on what was read before the signal: it comes before the notice (STOP-2).
func (s *server) finishTurns() {
	end := time.Now().Add(finishTime)
	for time.Now().Before(end) && len(s.events) > 0 {
		(<-s.events)()
	}
	for time.Now().Before(end) && len(s.queue) > 0 {
		s.takeTurns()
		s.flushAll()
	}
}

// catchSignals lets the first signal to stop end the server in order, and the second one at once
// (STOP-5). SIGINT and SIGHUP that were ignored stay so, except where SIGHUP is to read the log or
// the accounts anew (PROG-10).
func (s *server) catchSignals() {
	// In place of these signals, a write or a read fails, which is handled: to a standard output that
	// is closed, to a log that is as large as it may be, from the terminal in the background.
	signal.Ignore(syscall.SIGPIPE, syscall.SIGXFSZ, syscall.SIGTTIN)
	stops, hangUps := make(chan os.Signal, 2), make(chan os.Signal, 1)
	signal.Notify(stops, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGINT) {
		signal.Notify(stops, syscall.SIGINT)
	}
	if s.options.HasLog || s.options.HasAccounts {
		signal.Notify(hangUps, syscall.SIGHUP)
	} else if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(stops, syscall.SIGHUP)
	}
	go func() {
		for range hangUps {
			s.events <- s.readAnew
		}
	}()
	go func() {
		<-stops
		go func() { s.events <- func() { s.mustStop = true } }()
		<-stops
		os.Exit(1)
	}()
}

// readAnew is what SIGHUP does to the log (LOG-7) and to the accounts (FILE-4).
func (s *server) readAnew() {
	if s.options.HasLog {
		s.log.Reopen()
	}
	if s.accounts != nil {
		s.accounts.Reload()
	}
}

// listenOn opens the door, at the first IPv4 address that the host has, else at its first: that is
// how ResolveTCPAddr chooses. Every connection inherits the options that are set here; package net
// sets TCP_NODELAY on each, and package os has raised the limit of descriptors (LIMIT-3).
func listenOn(hostAndPort string) (*net.TCPListener, error) {
	address, err := net.ResolveTCPAddr("tcp", hostAndPort)
	if err != nil {
		return nil, err
	}
	network := "tcp"
	if address.IP.To4() != nil {
		network = "tcp4" // or 0.0.0.0 would mean all of IPv6 too
	}
	keepAlive := net.KeepAliveConfig{Enable: true, Idle: time.Minute, Count: 4} // 15 s between these
	config := net.ListenConfig{KeepAliveConfig: keepAlive, Control: limitSilence}
	config.SetMultipathTCP(false) // connections would not inherit all, and it is no use here
	listener, err := config.Listen(context.Background(), network, address.String())
	if err != nil {
		return nil, err
	}
	return listener.(*net.TCPListener), nil
}

// limitSilence ends connections whose peer acknowledges nothing for two minutes (LEAVE-5). A system
// that lacks the option serves all the same.
func limitSilence(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(socket uintptr) {
		syscall.SetsockoptInt(int(socket), syscall.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 120_000)
	})
}

// showAddress writes an address as PROG-3 has it.
func showAddress(address net.Addr) string {
	a := address.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()).String()
}

// boundGarbage keeps memory near to what is in use (LIMIT-4). By itself Go lets the garbage grow to
// as much as that. A finalizer runs after each collection: it sets the share for the next one.
func boundGarbage() {
	type sentinel [16]byte
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	var adjust func(*sentinel)
	adjust = func(mark *sentinel) {
		metrics.Read(live)
		percent := 100 * maxGarbage / max(1, int(live[0].Value.Uint64()))
		debug.SetGCPercent(min(100, max(10, percent)))
		runtime.SetFinalizer(mark, adjust)
	}
	adjust(new(sentinel))
}

func newServer() *server {
	room := stream.New()
	complaints := chatlog.NewSink("standard error", os.Stderr, nil)
	s := &server{
		events:      make(chan func(), roundEvents),
		output:      chatlog.NewSink("standard output", os.Stdout, complaints),
		errors:      complaints,
		log:         chatlog.NoLog(),
		stream:      room,
		news:        stream.Cursor{Stream: room},
		users:       make(map[string]*user),
		connections: make(map[*user]struct{}),
		buffer:      make([]byte, maxInbox),
		began:       time.Now(),
		sweepAt:     never,
	}
	s.news.Attach()
	s.alarm = time.AfterFunc(never, func() { s.events <- s.sweep })
	return s
}

func main() {
	s := newServer()
	s.options = options.ParseOptions(os.Args[1:], s.fail)
	s.catchSignals()
	boundGarbage()
	s.start()
	s.run()
	s.log.LogEvent("stop", "addr", s.address)
	end := time.Now().Add(pendingTime)
	s.output.Finish(end)
	s.log.Finish(end)
	s.errors.Finish(end.Add(pendingTime / 2))
}
