// Package chatlog writes standard output, standard error and the log, and never delays the chat
// (LOG-4, LOG-5).
//
// Lines are collected, and written once a round: to a file directly, to anything else (a pipe, a
// terminal) by a goroutine. Lines that are not accepted yet wait, up to a limit; lines beyond the
// limit are lost, and a message on standard error says so once.
//
// It exports Sink (Put, Flush, Finish) and Log (LogEvent, Reopen). One goroutine calls them all;
// Reopen has another one finish the old log.
package chatlog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	maxPending = 1024 * 1024            // bytes of lines that wait in a sink
	writeSize  = 64 * 1024              // bytes written in one system call, and the rest of a line
	retireTime = 250 * time.Millisecond // to write the last lines to a pipe, when the log is reopened
)

// A Sink is a file to which lines are written, and the lines that wait for it.
type Sink struct {
	name   string
	file   *os.File
	onDisk bool  // a regular file, which never blocks
	errors *Sink // to report lost lines; may be nil

	mutex   sync.Mutex    // protects the following fields
	pending []byte        // lines that no writer has yet
	torn    bool          // the last line was written only in part
	lost    bool          // lines were lost, and this was reported
	writer  chan struct{} // has an element while a writer is running
}

// NewSink makes a sink, which reports lost lines to `errors`.
func NewSink(name string, file *os.File, errors *Sink) *Sink {
	info, err := file.Stat()
	onDisk := err == nil && info.Mode().IsRegular()
	writer := make(chan struct{}, 1)
	return &Sink{name: name, file: file, onDisk: onDisk, errors: errors, writer: writer}
}

// Put adds lines, or loses them where too much waits.
func (k *Sink) Put(lines string) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if len(k.pending)+len(lines) > maxPending && !k.onDisk {
		k.lose("not read")
	} else {
		k.pending = append(k.pending, lines...)
	}
}

// Write is Put as an io.Writer, for slog.
func (k *Sink) Write(line []byte) (int, error) {
	k.Put(string(line))
	return len(line), nil
}

// lose reports on standard error, once, that lines are lost.
func (k *Sink) lose(reason string) {
	if k.errors != nil && !k.lost {
		k.lost = true
		k.errors.Put(fmt.Sprintf("chat-server: lines for %s are lost: %s\n", k.name, reason))
		k.errors.Flush()
	}
}

// Flush writes the lines, or starts a goroutine that does.
func (k *Sink) Flush() {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if len(k.pending) == 0 || len(k.writer) > 0 {
		return
	}
	k.writer <- struct{}{}
	if k.onDisk {
		k.write()
	} else {
		go func() {
			k.mutex.Lock()
			defer k.mutex.Unlock()
			k.write()
		}()
	}
}

// write writes the lines, and those that are added in the meantime. The caller holds the mutex; it
// is released during a system call, and the lines count as pending until they are written. A line
// that was written only in part is ended first (LOG-6).
func (k *Sink) write() {
	for len(k.pending) > 0 {
		size := min(len(k.pending), writeSize)
		size += bytes.IndexByte(k.pending[size-1:], '\n') // to the end of the line
		lines := k.pending[:size]
		if k.torn {
			lines = append([]byte("\n"), lines...)
		}
		k.mutex.Unlock()
		n, err := k.writeLines(lines)
		k.mutex.Lock()
		k.pending = k.pending[size:]
		if n > 0 {
			k.torn = lines[n-1] != '\n'
		}
		if err != nil {
			k.lose(err.Error())
		}
	}
	k.pending = nil
	<-k.writer
}

// writeLines writes all lines, even if another program has made the shared pipe non-blocking.
func (k *Sink) writeLines(lines []byte) (int, error) {
	written, err := k.file.Write(lines)
	for errors.Is(err, syscall.EAGAIN) {
		k.awaitRoom()
		var n int
		n, err = k.file.Write(lines[written:])
		written += n
	}
	return written, err
}

// awaitRoom waits until the file is writable.
func (k *Sink) awaitRoom() {
	if file, err := k.file.SyscallConn(); err == nil {
		file.Control(func(fd uintptr) {
			unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}, -1)
		})
	}
}

// Finish writes the last lines, until `end` at the latest.
func (k *Sink) Finish(end time.Time) {
	k.Flush()
	select {
	case k.writer <- struct{}{}: // no writer is running
		<-k.writer
	case <-time.After(time.Until(end)):
		k.mutex.Lock()
		defer k.mutex.Unlock()
		k.lose("not read")
	}
}

// A Log is a sink to which events are written as lines of JSON (LOG-2).
type Log struct {
	*Sink
	logger *slog.Logger
}

// NoLog makes a log that discards all events.
func NoLog() *Log {
	return &Log{Sink: NewSink("", nil, nil), logger: slog.New(slog.DiscardHandler)}
}

// OpenLog opens a log for appending. Opening a FIFO does not wait for a reader.
func OpenLog(path string, errors *Sink) (*Log, error) {
	const flags = os.O_APPEND | os.O_CREATE | os.O_WRONLY | syscall.O_NONBLOCK
	file, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open log %s: %w", path, err)
	}
	k := NewSink(path, file, errors)
	handler := slog.NewJSONHandler(k, &slog.HandlerOptions{ReplaceAttr: formatTime})
	return &Log{Sink: k, logger: slog.New(handler)}, nil
}

// formatTime formats the time of an event as LOG-2 requires.
func formatTime(_ []string, field slog.Attr) slog.Attr {
	if field.Value.Kind() == slog.KindTime {
		field.Value = slog.StringValue(field.Value.Time().UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	return field
}

// Reopen continues in a new file at the log's path: logrotate has renamed the old one (LOG-7). The
// lines that wait for the old one are written for a moment; if it is a pipe, nobody may read it.
func (l *Log) Reopen() {
	next, err := OpenLog(l.name, l.errors)
	if err != nil {
		l.LogEvent("error", "error", err.Error())
		return
	}
	old := *l
	*l = *next
	old.file.SetWriteDeadline(time.Now().Add(retireTime)) // fails for a file, which does not need it
	go func() {
		old.Finish(time.Now().Add(2 * retireTime))
		old.file.Close()
	}()
}

// levels has the levels of events; all others are INFO.
var levels = map[string]slog.Level{"refuse": slog.LevelWarn, "error": slog.LevelError}

// LogEvent writes an event to the log. The fields are names and values, alternating.
func (l *Log) LogEvent(event string, fields ...any) {
	l.logger.Log(context.Background(), levels[event], event, fields...)
}
