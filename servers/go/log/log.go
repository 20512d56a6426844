// Package chatlog writes lines to standard output, standard error and the log, and never waits for
// a reader of them.
//
// Lines are gathered, and written once a round, many in one call. What may not be read (a pipe, a
// terminal) is written by a goroutine; a disk is written at once.
//
// It offers Sink (Put, Flush, Finish) and Log (LogEvent, Reopen), which writes to a sink. All is
// called by one goroutine.
package chatlog

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	maxPending = 1024 * 1024            // bytes that may wait in a sink; lines beyond are lost
	retireTime = 250 * time.Millisecond // for what waits in a pipe, when the log is opened anew
)

// A Sink is a file to which lines are written, and the lines that wait for it.
type Sink struct {
	name   string
	file   *os.File
	onDisk bool  // no one has to read what is written
	errors *Sink // where to say that lines are lost

	mutex   sync.Mutex    // for what follows
	pending []byte        // lines that are not being written yet
	torn    bool          // the last line in the file has no end
	lost    bool          // lines were lost, and that was said
	writer  chan struct{} // has an element while a writer is at work
}

// NewSink makes a sink. Where lines of it are lost, that is said in `errors`, if that is not nil.
func NewSink(name string, file *os.File, errors *Sink) *Sink {
	info, err := file.Stat()
	onDisk := err == nil && info.Mode().IsRegular()
	writer := make(chan struct{}, 1)
	return &Sink{name: name, file: file, onDisk: onDisk, errors: errors, writer: writer}
}

// Put adds whole lines. They are lost where too much waits already.
func (k *Sink) Put(lines string) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	if len(k.pending)+len(lines) > maxPending && !k.onDisk {
		k.lose("not read")
	} else {
		k.pending = append(k.pending, lines...)
	}
}

// Write is Put, for the log's handler.
func (k *Sink) Write(line []byte) (int, error) {
	k.Put(string(line))
	return len(line), nil
}

// lose says on standard error that lines are lost, once.
func (k *Sink) lose(reason string) {
	if k.errors != nil && !k.lost {
		k.lost = true
		k.errors.Put(fmt.Sprintf("chat-server: lines for %s are lost: %s\n", k.name, reason))
		k.errors.Flush()
	}
}

// Flush writes what waits, or begins to.
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

// write writes what waits, and what comes meanwhile. The lock is held, but not during a call. A
// line that a full disk has cut is ended before the next one (LOG-6).
func (k *Sink) write() {
	for len(k.pending) > 0 {
		lines := k.pending
		if k.torn {
			lines = append([]byte("\n"), lines...)
		}
		k.pending = nil
		k.mutex.Unlock()
		n, err := k.file.Write(lines)
		k.mutex.Lock()
		if n > 0 {
			k.torn = lines[n-1] != '\n'
		}
		if err != nil {
			k.lose(err.Error())
		}
	}
	<-k.writer
}

// Finish writes what still waits, until a time at the latest.
func (k *Sink) Finish(end time.Time) {
	k.Flush()
	select {
	case k.writer <- struct{}{}: // no writer is at work any more
		<-k.writer
	case <-time.After(time.Until(end)):
		k.mutex.Lock()
		defer k.mutex.Unlock()
		k.lose("not read")
	}
}

// A Log is a file to which events are written, a JSON object a line (LOG-2).
type Log struct {
	*Sink
	logger *slog.Logger
}

// NoLog gives a log that keeps nothing.
func NoLog() *Log {
	return &Log{Sink: NewSink("", nil, nil), logger: slog.New(slog.DiscardHandler)}
}

// OpenLog opens a log, at its end. Where that is a pipe, it does not wait for a reader.
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

// formatTime writes the time of an event as LOG-2 has it.
func formatTime(_ []string, field slog.Attr) slog.Attr {
	if field.Value.Kind() == slog.KindTime {
		field.Value = slog.StringValue(field.Value.Time().UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	return field
}

// Reopen goes on in a new file at the same path: logrotate has moved the old one away (LOG-7). What
// waits for the old one is given a moment; a pipe may not be read.
func (l *Log) Reopen() {
	next, err := OpenLog(l.name, l.errors)
	if err != nil {
		l.LogEvent("error", "error", err.Error())
		return
	}
	old := *l
	*l = *next
	old.file.SetWriteDeadline(time.Now().Add(retireTime)) // it fails for a disk, which needs none
	go func() {
		old.Finish(time.Now().Add(2 * retireTime))
		old.file.Close()
	}()
}

// levels are those of events that are not just information.
var levels = map[string]slog.Level{"refuse": slog.LevelWarn, "error": slog.LevelError}

// LogEvent logs an event. The fields are names and values, in turns.
func (l *Log) LogEvent(event string, fields ...any) {
	l.logger.Log(context.Background(), levels[event], event, fields...)
}
