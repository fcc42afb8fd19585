package main

import (
	"bytes"
	"io"

	"processor/internal/chat"
)

// printer writes an answer as it streams, so that what has been written in the end is the committed answer.
//
// What is written can't be taken back. So when an attempt is void, nothing is written until the next one has said as much as is there
// already: if it says the same, which is what most models and the demonstration do, nobody sees that there were two.
// If it says something else, the printer starts again on a new line, and what follows there is the whole answer. Whoever
// can't live with the void beginning before it waits for the commit: hold.
//
// Steps of one turn are separated by a new line, and the answer ends with one.
type printer struct {
	w io.Writer
	// hold writes only what is committed.
	hold bool
	// restarted is told when the answer starts again on a new line; may be nil.
	restarted func()

	shown []byte // what was written of the open step
	at    int    // how much of it the current attempt has said
	last  byte   // the last byte written
}

// delta takes a piece of the current attempt.
func (p *printer) delta(text string) error {
	if p.hold || text == "" {
		return nil
	}
	known := min(len(text), len(p.shown)-p.at)
	if string(p.shown[p.at:p.at+known]) != text[:known] {
		return p.restart(string(p.shown[:p.at]) + text)
	}
	p.at += len(text)
	return p.write(text[known:])
}

// void ends an attempt: the next one starts from the beginning of the step.
func (p *printer) void() { p.at = 0 }

// commit takes the committed text of a step. A turn that was cut off may keep less than was seen; that is not worth repeating.
func (p *printer) commit(text string, finish chat.Finish) error {
	var err error
	cut := finish == chat.Interrupted || finish == chat.Failed
	switch rest, more := bytes.CutPrefix([]byte(text), p.shown); {
	case more:
		err = p.write(string(rest))
	case cut && bytes.HasPrefix(p.shown, []byte(text)):
	default:
		err = p.restart(text)
	}
	if len(p.shown) > 0 && err == nil {
		err = p.newline()
	}
	p.shown, p.at = nil, 0
	return err
}

func (p *printer) restart(text string) error {
	if err := p.newline(); err != nil {
		return err
	}
	if p.restarted != nil {
		p.restarted()
	}
	p.shown = nil
	p.at = len(text)
	return p.write(text)
}

func (p *printer) write(text string) error {
	if text == "" {
		return nil
	}
	p.shown = append(p.shown, text...)
	p.last = text[len(text)-1]
	_, err := io.WriteString(p.w, text)
	return err
}

// newline ends a line that was begun.
func (p *printer) newline() error {
	if !p.midLine() {
		return nil
	}
	p.last = '\n'
	_, err := io.WriteString(p.w, "\n")
	return err
}

func (p *printer) midLine() bool { return p.last != 0 && p.last != '\n' }
