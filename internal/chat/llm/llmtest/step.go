package llmtest

import (
	"errors"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Step is one thing that the provider does with a call. An answer that runs out of steps is finished with "stop", or
// with the call of a tool when it has one.
type Step func(*Stream) error

// errOver ends a script: what follows is not played, and the answer is not finished.
var errOver = errors.New("script is over")

// Text says each word as one delta.
func Text(words ...string) Step {
	return func(s *Stream) error {
		for _, word := range words {
			if err := s.say(word, s.wire.text); err != nil {
				return err
			}
		}
		return nil
	}
}

// Echo says the text word by word, each with the space before it.
func Echo(text string) Step {
	return Text(Words(text)...)
}

// Words cuts a text before every word, so that the pieces joined are the text.
func Words(text string) []string {
	var words []string
	for rest := text; rest != ""; {
		lead := len(rest) - len(strings.TrimLeft(rest, " \n\t"))
		end := strings.IndexAny(rest[lead:], " \n\t")
		if end < 0 {
			return append(words, rest)
		}
		words = append(words, rest[:lead+end])
		rest = rest[lead+end:]
	}
	return words
}

// Think says each word as reasoning.
func Think(words ...string) Step {
	return func(s *Stream) error {
		for _, word := range words {
			if err := s.say(word, s.wire.reasoning); err != nil {
				return err
			}
		}
		return nil
	}
}

// Tool calls a tool; its input comes in the pieces given.
func Tool(id, name string, pieces ...string) Step {
	return func(s *Stream) error {
		if err := s.start(); err != nil {
			return err
		}
		s.tools++
		if err := s.write(s.wire.tool(s, id, name)); err != nil {
			return err
		}
		for _, piece := range pieces {
			if err := s.say(piece, s.wire.input); err != nil {
				return err
			}
		}
		return nil
	}
}

// Every sets the pause before each delta that follows.
func Every(d time.Duration) Step {
	return func(s *Stream) error {
		s.every = d
		return nil
	}
}

// Wait pauses once.
func Wait(d time.Duration) Step {
	return func(s *Stream) error { return s.sleep(d) }
}

// Hold stops in front of the gate until it is open. What was said before has been sent.
func Hold(g *Gate) Step {
	return func(s *Stream) error {
		if err := s.start(); err != nil {
			return err
		}
		g.arrive(s.call)
		return s.until(g.open)
	}
}

// Silence says nothing more until the client leaves.
func Silence() Step {
	return func(s *Stream) error {
		if err := s.start(); err != nil {
			return err
		}
		return s.until(nil)
	}
}

// NoReply does not even send the response's header before the client leaves.
func NoReply() Step {
	return func(s *Stream) error { return s.until(nil) }
}

// Finish ends the answer with a reason: stop, length, or what the wire format calls it.
func Finish(reason string) Step {
	return func(s *Stream) error { return s.finish(reason) }
}

// Raw writes bytes into the stream as they are.
func Raw(bytes string) Step {
	return func(s *Stream) error { return s.write([]byte(bytes)) }
}

// Garbage writes an event that is not JSON.
func Garbage() Step { return Raw("event: content_block_delta\ndata: {\"choices\": <html>oops\n\n") }

// Truncate closes the response in the middle of the answer, as a proxy does that gave up.
func Truncate() Step {
	return func(s *Stream) error {
		if err := s.start(); err != nil {
			return err
		}
		return errOver
	}
}

// Reset breaks the connection: a TCP reset where there is one to break.
func Reset() Step {
	return func(s *Stream) error {
		conn, _, err := s.rc.Hijack()
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		if tcp, ok := conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		_ = conn.Close()
		return errOver
	}
}

// Header sets a header of the response, when nothing has been sent yet.
func Header(name, value string) Step {
	return func(s *Stream) error {
		s.w.Header().Set(name, value)
		return nil
	}
}

// Respond answers with that status and body, in no wire format.
func Respond(status int, contentType, body string) Step {
	return func(s *Stream) error {
		s.w.Header().Set("Content-Type", contentType)
		s.w.WriteHeader(status)
		_, err := s.w.Write([]byte(body))
		return errors.Join(err, errOver, errRefused)
	}
}

// Error is a provider's error: Type and Code as the wire format has them.
type Error struct {
	Status              int
	Type, Code, Message string
}

// Refuse answers with an error in place of a stream.
func Refuse(e Error) Step {
	return func(s *Stream) error {
		return Respond(e.Status, "application/json", string(s.wire.refusal(e)))(s)
	}
}

// Fail sends an error in the middle of the stream.
func Fail(e Error) Step {
	return func(s *Stream) error {
		return errors.Join(s.write(s.wire.failure(e)), errOver)
	}
}

// RetryAfter asks the client to wait; it goes before Refuse.
func RetryAfter(d time.Duration) Step {
	return Header("Retry-After", strconv.Itoa(int(d.Seconds())))
}
