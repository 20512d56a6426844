// Package terminal is the terminal that standard input is, if it is one: typing while others talk
// (EDIT), and passwords that are not shown (HIDE). Without one, it is a plain output.
//
// It is in one of three modes:
//
//	plain    the terminal's own way to take lines; also where there is no terminal
//	hidden   the same without echo, while a password is typed
//	edited   readline has the half-typed line; it stands below all else, behind its prompt
//
// What it shows, it adds to Out: the client writes that on standard output. All is for one
// goroutine, except Read and Restore.
//
// readline (github.com/ergochat/readline) edits the line: keys, history, search and drawing are its
// own. It is made to work in step with us: it gets one key, and has done all that the key asks for
// when it asks for the next one. So what it draws is not mixed up with lines that come.
package terminal

import (
	"bytes"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ergochat/readline"
	"golang.org/x/sys/unix"
)

const (
	readSize     = 64 * 1024       // bytes read in one go
	maxTyped     = 4095            // characters of an edited line: what a terminal itself takes
	maxBegun     = 4096            // bytes of a server's line that has no end yet
	maxKey       = 4096            // bytes of what a key sends, or of what the terminal answers
	maxNames     = 1000            // that TAB completes
	escapeTime   = time.Second / 2 // after Escape, for what would make it the beginning of a key
	lookTime     = time.Second     // between two looks whether it is ours; for a stop to come
	sequenceTime = 2 * time.Second // for the rest of a longer one
)

// Commands are those that TAB completes (CMD-1, ACCT).
var Commands = []string{
	"/help", "/who", "/msg", "/nick", "/register", "/passwd", "/unregister", "/quit",
}

// Terminal is the terminal, and what is on it.
type Terminal struct {
	Out   []byte // what is to be written on standard output
	Flush func() // writes it
	Ours  bool   // the shell has not given the terminal to another job (always so where there is none)

	mutex   sync.Mutex
	before  unix.Termios // the mode that it had, and is to have at the end
	changed bool         // it has another one
	ended   bool         // and it stays as it was
	marks   bool         // it marks what is pasted

	exists bool
	edits  bool   // lines can be edited; the end of the input ends that
	hidden bool   // a password is typed
	begun  []byte // what the server's last line has so far
	own    string // the prompt where there is none of that (EDIT-2)

	line    []rune    // the half-typed line
	at      int       // where the cursor is in it
	stopped time.Time // when Ctrl+Z was pressed, until the program goes on
	drawn   bool      // it is on the screen
	edge    bool      // ... and the cursor has gone on to the next row, as the line fills its last one
	keys    []byte    // the beginning of what a key sends
	since   time.Time
	pasting bool
	names   map[string]string // in the room, by their small letters

	library   *readline.Instance
	config    *readline.Config
	columns   int
	rows      int
	onResized func()        // has the library ask for these
	between   func()        // what change does while the line is off the screen
	asksPlace bool          // the library has asked the terminal where the cursor is
	pressed   chan string   // keys for the library
	idle      chan struct{} // it wants the next one
	entered   chan string   // a line that Enter has ended
}

// Open looks at what standard input and standard output are. In the background, the terminal's
// signals do not stop us.
func Open() *Terminal {
	t := &Terminal{Ours: true, names: make(map[string]string)}
	signal.Ignore(syscall.SIGTTIN, syscall.SIGTTOU)
	_, err := unix.IoctlGetTermios(0, unix.TCGETS)
	t.exists = err == nil
	_, err = unix.IoctlGetTermios(1, unix.TCGETS)
	kind := os.Getenv("TERM")
	t.edits = t.exists && err == nil && kind != "" && kind != "dumb"
	t.Ours = !t.exists
	if t.edits {
		allowStops()
		t.startLibrary()
	}
	return t
}

// allowStops has one thread that takes the signal of Ctrl+Z, though it was blocked when the program
// was started (PROG-10). The runtime takes care only of signals that it catches.
func allowStops() {
	go func() {
		runtime.LockOSThread()
		stops := unix.Sigset_t{Val: [16]uint64{1 << (unix.SIGTSTP - 1)}}
		unix.PthreadSigmask(unix.SIG_UNBLOCK, &stops, nil)
		select {}
	}()
}

// MayShow reports whether standard output may be written to: in the background, where lines are
// edited, it waits quietly.
func (t *Terminal) MayShow() bool { return t.Ours || !t.edits }

// UntilLook returns what comes when it is time to look whether the terminal is ours again.
func (t *Terminal) UntilLook() <-chan time.Time {
	if t.Ours {
		return nil
	}
	return time.After(lookTime)
}

// IsEditing reports whether what is typed now is an edited line.
func (t *Terminal) IsEditing() bool { return t.edits && !t.hidden }

// Hides reports whether what is typed is hidden.
func (t *Terminal) Hides() bool { return t.hidden }

// ---------------------------------------------------------------------------------------------
// Modes
// ---------------------------------------------------------------------------------------------

// isOurs reports whether we are in the foreground.
func isOurs() bool {
	group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	return err != nil || group == unix.Getpgrp()
}

// Take finds out whether the terminal is ours, and gives it our mode where it has become ours
// again. Each round of the loop asks.
func (t *Terminal) Take() {
	if !t.exists {
		return
	}
	ours := isOurs() && time.Since(t.stopped) > lookTime
	if !ours {
		t.drawn = false
	} else if !t.Ours {
		t.setMode()
		if t.edits {
			t.Out = append(t.Out, "\r\x1b[J"...)
		}
		if t.edits && t.hidden {
			t.Out = append(t.Out, t.begun...)
		}
	}
	t.Ours = ours
}

// Continue is called when the program was stopped and goes on: others may have used the terminal.
func (t *Terminal) Continue() {
	t.stopped = time.Time{}
	t.Ours = !t.exists
	t.drawn = false
}

// setMode makes the terminal, which is ours, do what we need. What was typed ahead stays.
func (t *Terminal) setMode() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if !t.exists || t.ended {
		return
	}
	if !t.edits && !t.hidden {
		t.giveBack()
		return
	}
	if now, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil && !t.changed {
		t.before = *now
	}
	wanted := t.before
	wanted.Lflag &^= unix.ECHO | unix.ECHONL
	if t.hidden && t.before.Lflag&unix.ECHO != 0 { // without it, another shows what is typed
		wanted.Lflag |= unix.ECHONL
	}
	if t.IsEditing() { // Ctrl+C stays a signal; Ctrl+Z is a key, so that it can put things in order
		wanted.Iflag = wanted.Iflag&^unix.IXON | unix.ICRNL
		wanted.Oflag |= unix.OPOST | unix.ONLCR
		wanted.Lflag &^= unix.ICANON | unix.IEXTEN
		wanted.Cc[unix.VMIN], wanted.Cc[unix.VTIME], wanted.Cc[unix.VSUSP] = 1, 0, 0
	}
	t.changed = true
	unix.IoctlSetTermios(0, unix.TCSETS, &wanted) // where the terminal is gone, nothing can be done
	t.markPastes(t.IsEditing())
}

// markPastes asks the terminal to mark what is pasted, or not to, unless Ctrl+S holds it up.
func (t *Terminal) markPastes(wanted bool) {
	request := "\x1b[?2004l"
	if wanted {
		request = "\x1b[?2004h"
	}
	if wanted != t.marks && isReady(1, unix.POLLOUT, 0) {
		unix.Write(1, []byte(request))
		t.marks = wanted
	}
}

// Restore gives the terminal back as it was, for good (HIDE-4, EDIT-8). Any goroutine may call it.
func (t *Terminal) Restore() {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.giveBack()
	t.ended = true
}

// giveBack does that. The rest of a password is not for the program that reads next (HIDE-2).
func (t *Terminal) giveBack() {
	if !t.changed || !isOurs() {
		return
	}
	if t.hidden {
		discardTyped()
	}
	t.markPastes(false)
	unix.IoctlSetTermios(0, unix.TCSETS, &t.before)
	t.changed = false
}

// discardTyped discards what was typed and is not read, and what is on its way there.
func discardTyped() {
	unix.IoctlSetInt(0, unix.TCFLSH, unix.TCIFLUSH)
	isReady(0, unix.POLLIN, 0) // the kernel hands over what it has taken
	unix.IoctlSetInt(0, unix.TCFLSH, unix.TCIFLUSH)
}

// isReady reports whether a descriptor can be read or written within some milliseconds; -1: it
// waits for that.
func isReady(fd int32, events int16, patience int) bool {
	wanted := []unix.PollFd{{Fd: fd, Events: events}}
	n, err := unix.Poll(wanted, patience)
	for patience < 0 && err == unix.EINTR {
		n, err = unix.Poll(wanted, patience)
	}
	return n > 0
}

// Read waits for input and returns it, nothing where the terminal turns out to be another job's,
// and whether the input has ended. Any goroutine may call it.
func (t *Terminal) Read() (data []byte, ended bool) {
	buffer := make([]byte, readSize)
	isReady(0, unix.POLLIN, -1)
	n, err := unix.Read(0, buffer)
	switch {
	case n > 0:
		return buffer[:n], false
	case err == unix.EAGAIN || err == unix.EINTR:
		return nil, false
	case err == unix.EIO && t.exists && !isOurs():
		return nil, false
	}
	return nil, true
}

// HideTyping keeps a password from being shown (HIDE-1). What is half typed is no part of it.
func (t *Terminal) HideTyping() {
	if t.hidden {
		return
	}
	if t.edits {
		t.TakeOff()
		t.feed("\x05\x15") // to the end of the line; erase all before it
		t.keys, t.pasting = nil, false
		t.Out = append(t.Out, t.begun...)
	}
	t.hidden = true
	if t.Ours {
		t.setMode()
	}
}

// ShowTyping goes back to what was before. What is half typed stays; see DropTyped.
func (t *Terminal) ShowTyping() {
	if !t.hidden {
		return
	}
	t.hidden = false
	if t.edits {
		t.Out = append(t.Out, "\r\x1b[J"...) // the prompt will be drawn anew
	}
	if t.Ours {
		t.setMode()
	}
}

// DropTyped drops what is half typed of a password (HIDE-2).
func (t *Terminal) DropTyped() {
	if t.hidden && t.exists && isOurs() {
		discardTyped()
	}
}

// EndEditing leaves the half-typed line on the screen, and the terminal as it was.
func (t *Terminal) EndEditing() {
	if t.Ours && t.hidden {
		t.EndRow()
	}
	t.leave(false)
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.giveBack()
	t.edits, t.hidden = false, false
}

// stop lets Ctrl+Z stop the program, with the terminal as it was, and those that were started with
// it. The stop itself may come a little later, or not at all, where no shell could undo it.
func (t *Terminal) stop() {
	t.leave(false)
	t.Flush()
	t.mutex.Lock()
	t.giveBack()
	t.mutex.Unlock()
	t.Ours, t.stopped = false, time.Now()
	unix.Kill(0, unix.SIGTSTP)
}

// ---------------------------------------------------------------------------------------------
// Screen
// ---------------------------------------------------------------------------------------------

// PrintAbove puts harmless text on the screen: whole lines above the half-typed one, and what has
// no end yet before it.
func (t *Terminal) PrintAbove(text []byte) {
	whole := bytes.LastIndexByte(text, '\n') + 1
	switch {
	case !t.edits:
		t.Out = append(t.Out, text...)
		return
	case t.hidden:
		t.Out = append(t.Out, text...)
	case whole > 0:
		t.TakeOff()
		t.Out = append(append(t.Out, t.begun...), text[:whole]...)
	}
	if whole > 0 {
		t.begun = nil
	}
	t.begun = append(t.begun, text[whole:]...)
	if len(t.begun) > maxBegun { // longer than any server's: it might never end
		if t.IsEditing() {
			t.TakeOff()
			t.Out = append(append(t.Out, t.begun...), '\n')
		}
		t.begun = nil
	}
}

// Begun returns what the server's last line has so far, as it is on the screen.
func (t *Terminal) Begun() string { return string(t.begun) }

// EndRow ends, on the screen, a line that the server cannot end any more.
func (t *Terminal) EndRow() {
	if t.edits && len(t.begun) > 0 {
		t.PrintAbove([]byte("\n"))
	}
}

// ForgetRow takes such a line off the screen, if a line is typed behind it.
func (t *Terminal) ForgetRow() {
	t.TakeOff()
	t.begun = nil
}

// SetPrompt sets the client's own prompt.
func (t *Terminal) SetPrompt(own string) { t.own = own }

// Draw puts the half-typed line on the screen, behind its prompt, if it is not there.
func (t *Terminal) Draw() {
	prompt := string(t.begun)
	if prompt == "" {
		prompt = t.own
	}
	prompt = strings.ReplaceAll(prompt, "\t", " ") // the library counts four columns
	if !t.IsEditing() || !t.Ours || t.drawn && prompt == t.config.Prompt {
		return
	}
	t.change(func() {
		t.config.Prompt = prompt
		t.drawn = true
	})
}

// TakeOff takes it off the screen: it gives way to something above it.
func (t *Terminal) TakeOff() {
	if t.drawn {
		t.change(func() { t.drawn = false })
	}
}

// leave leaves it on the screen for good, with the cursor below it; but an own prompt with nothing
// behind it goes, unless it stays because Enter was pressed (EDIT-3).
func (t *Terminal) leave(stays bool) {
	if !t.IsEditing() || !t.Ours {
		return
	}
	if !stays && len(t.line) == 0 && len(t.begun) == 0 {
		t.TakeOff()
		return
	}
	t.Draw()
	t.feed("\x05") // to the end of the line
	t.change(func() {})
	if !t.edge || t.config.Prompt == "" && len(t.line) == 0 {
		t.Out = append(t.Out, '\n')
	}
	t.drawn = false
}

// Resize learns of the window's new size. Some terminals break rows anew then, and others do not:
// the line is taken off as if it had the fewer rows of the two, because above them is the chat.
func (t *Terminal) Resize() {
	if !t.edits {
		return
	}
	before := t.columns
	t.measure()
	now := t.columns
	t.columns = max(before, now)
	t.onResized()
	t.change(func() {
		t.columns = now
		t.onResized()
	})
}

// measure asks for the size of the window.
func (t *Terminal) measure() {
	t.columns, t.rows = 80, 24
	if size, err := unix.IoctlGetWinsize(1, unix.TIOCGWINSZ); err == nil && size.Col > 0 {
		t.columns, t.rows = int(size.Col), int(size.Row)
	}
}

// ---------------------------------------------------------------------------------------------
// Keys
// ---------------------------------------------------------------------------------------------

var (
	wholeKey = regexp.MustCompile(`(?s)^\x1b(?:\[M...|\[\[.|\[[0-?]+[ -/]*[@-~]|\[[ -/]*[@-LN-Z\\-~]|` +
		`O.|[\]P_^X].*?(?:\a|\x1b\\)|[^\[O\]P_^X\x1b])`)
	begunKey   = regexp.MustCompile(`(?s)^\x1b(?:\[M.{0,2}|\[\[?|\[[0-?]*[ -/]*|O|[\]P_^X].*)?$`)
	strayKey   = regexp.MustCompile(`^\x1b(?:\[[0-?]*[ -/]*)?`)
	libraryKey = regexp.MustCompile(`^\x1b(?:[bf]|[\[O][0-9;]*[A-FHZ~])$`) // the library knows these
)

const (
	libraryControls = "\x01\x02\x04\x05\x06\x07\x08\x0b\x0c\x0e\x10\x12\x13\x14\x15\x19\x7f"
	pasteBegins     = "\x1b[200~"
	pasteEnds       = "\x1b[201~"
)

// ReadLine takes what the terminal sends. It calls typed for each line that Enter ends, which
// reports whether the history may have it; ended says that the user has ended the input.
func (t *Terminal) ReadLine(data []byte, typed func(line string) bool) (ended bool) {
	late := time.Since(t.since)
	if len(t.keys) > 0 && t.keys[0] == '\x1b' && late > escapeTime && (len(t.keys) == 1 || late > sequenceTime) {
		t.keys = nil
	}
	t.keys = append(t.keys, data...)
	t.since = time.Now()
	for size := keySize(t.keys); size > 0 && t.IsEditing(); size = keySize(t.keys) {
		key := string(t.keys[:size])
		t.keys = t.keys[size:]
		switch {
		case key == "\n" || key == "\r":
			t.enter(typed)
		case key == "\x04" && len(t.line) == 0 && !t.pasting: // Ctrl+D
			return true
		default:
			t.press(key)
		}
	}
	if len(t.keys) > maxKey {
		t.keys = nil
	}
	return false
}

// keySize returns the length of what the first key has sent: a character, or an escape sequence; 0
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

// press does what a key asks for. What is neither text nor a key that the library knows, such as an
// answer of the terminal, does nothing.
func (t *Terminal) press(key string) {
	r, size := utf8.DecodeRuneInString(key)
	text := r == '\t' || !unicode.IsControl(r) && (r != utf8.RuneError || size > 1)
	switch {
	case key == pasteBegins || key == pasteEnds:
		t.pasting = key == pasteBegins
	case text && (r != '\t' || t.pasting):
		if len(t.line) < maxTyped {
			t.feed(key)
		}
	case t.pasting:
	case r == '\t':
		t.complete()
	case r == '\x17': // Ctrl+W; to the library only ASCII letters make a word
		t.feed(strings.Repeat("\x7f", t.at-t.wordStart()))
	case r == '\x1a': // Ctrl+Z
		t.stop()
	case libraryKey.MatchString(key), strings.ContainsRune(libraryControls, r):
		t.feed(key)
	}
}

// wordStart returns where the word before the cursor begins; blanks behind it are part of it.
func (t *Terminal) wordStart() int {
	from := t.at
	for from > 0 && unicode.IsSpace(t.line[from-1]) {
		from--
	}
	for from > 0 && !unicode.IsSpace(t.line[from-1]) {
		from--
	}
	return from
}

// enter passes on the line, which stays on the screen.
func (t *Terminal) enter(typed func(line string) bool) {
	t.leave(true)
	t.begun = nil
	line := t.feed("\r")
	if !typed(line) {
		line = "" // the library then forgets it
	}
	t.library.SaveToHistory(line)
}

// complete completes the word before the cursor, where one command or name begins so.
func (t *Terminal) complete() {
	before := string(t.line[:t.at])
	word := before[strings.LastIndexByte(before, ' ')+1:]
	if word == "" || t.at < len(t.line) && t.line[t.at] != ' ' {
		return
	}
	var found []string
	for _, name := range t.candidates(word == before && word[0] == '/') {
		if len(name) >= len(word) && strings.EqualFold(name[:len(word)], word) {
			found = append(found, name)
		}
	}
	if len(found) == 1 {
		t.feed(strings.Repeat("\x7f", utf8.RuneCountInString(word)) + found[0])
	}
}

// candidates returns what a word may be.
func (t *Terminal) candidates(command bool) (all []string) {
	if command {
		return Commands
	}
	for _, name := range t.names {
		all = append(all, name)
	}
	return all
}

// Know remembers who is in the room. Where there are too many, any other goes.
func (t *Terminal) Know(name string) {
	if t.names[strings.ToLower(name)] = name; len(t.names) > maxNames {
		for other := range t.names {
			delete(t.names, other)
			return
		}
	}
}

// Forget forgets one who is gone.
func (t *Terminal) Forget(name string) { delete(t.names, strings.ToLower(name)) }

// ForgetAll forgets them all.
func (t *Terminal) ForgetAll() { clear(t.names) }

// ---------------------------------------------------------------------------------------------
// The library
// ---------------------------------------------------------------------------------------------

// startLibrary begins the one call to the library for each line. What a terminal would be to it is
// played by keyboard and screen.
func (t *Terminal) startLibrary() {
	t.pressed, t.idle, t.entered = make(chan string), make(chan struct{}), make(chan string)
	nothing := func() error { return nil }
	t.config = &readline.Config{
		DisableAutoSaveHistory: true,
		Listener:               t.onChange,
		Stdin:                  keyboard{t},
		Stdout:                 screen{t},
		FuncIsTerminal:         func() bool { return true },
		FuncMakeRaw:            nothing,
		FuncExitRaw:            nothing,
		FuncGetSize:            func() (int, int) { return t.columns, t.rows },
		FuncOnWidthChanged:     func(ask func()) { t.onResized = ask },
	}
	t.measure()
	t.library, _ = readline.NewFromConfig(t.config) // it fails on Windows alone
	go func() {
		for {
			line, _ := t.library.ReadLine()
			t.entered <- line
		}
	}()
	<-t.idle
}

// feed lets the library take keys, and returns the line, if they end it.
func (t *Terminal) feed(keys string) (line string) {
	if keys == "" {
		return ""
	}
	t.pressed <- keys
	for {
		select {
		case line = <-t.entered:
		case <-t.idle:
			return line
		}
	}
}

// change has the library take its line off the screen, calls f, and has it drawn anew.
func (t *Terminal) change(f func()) {
	t.between = f
	t.library.Write(nil)
}

// onChange is called by the library after each key.
func (t *Terminal) onChange(line []rune, at int, _ rune) ([]rune, int, bool) {
	t.line, t.at = line, at
	return nil, 0, false
}

type keyboard struct{ *Terminal }

// Read gives the library its next keys. Where the cursor is it asks before each line: always at the
// beginning of a row.
func (t keyboard) Read(buffer []byte) (int, error) {
	if t.asksPlace {
		t.asksPlace = false
		return copy(buffer, "\x1b[1;1R"), nil
	}
	t.idle <- struct{}{}
	return copy(buffer, <-t.pressed), nil
}

type screen struct{ *Terminal }

// Write takes what the library draws; while its line is off the screen, that is lost. Nothing at
// all is what change writes.
func (t screen) Write(data []byte) (int, error) {
	switch {
	case len(data) == 0:
		t.between()
	case string(data) == "\x1b[6n":
		t.asksPlace = true
	case t.drawn:
		// Behind a prompt that fills its row this would erase the last column.
		t.Out = append(t.Out, bytes.ReplaceAll(data, []byte("\x1b[0K"), nil)...)
		t.edge = bytes.HasSuffix(data, []byte(" \b"))
	}
	return len(data), nil
}
