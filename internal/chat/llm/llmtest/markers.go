package llmtest

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Markers makes the script that the user's text asks for, by words such as #tokens=200 anywhere in it:
//
//	#tokens=N      say N words ("w0 w1 …"); without it the text comes back
//	#delay=20ms    pause before each word
//	#first=2s      pause before the first word
//	#think=N       think N words first
//	#tool=NAME     call the tool, and answer when its result is there; #input={"a":1} is its input
//	#length        finish as cut off by the limit of tokens
//	#hold=N        after N words wait for the gate; #gate=NAME names it, else it has the name of the chat
//	#reset=N       after N words reset the connection
//	#cut=N         after N words end the response without finishing the answer
//	#garbage=N     after N words send what is not JSON
//	#error=N       after N words send an overloaded error
//	#silence=N     after N words say nothing until the client leaves; #silence alone: not even a header
//	#status=429    refuse; #type=… #code=… name the error, #retry-after=SECONDS asks for a wait
//	#times=N       all these faults (reset to status) strike only the first N calls of the turn
func (p *Provider) Markers(c Call) []Step {
	m := parseMarkers(c.Text)
	if m.has("times") && p.nth(c.Turn()) > m.num("times") {
		m.drop("reset", "cut", "garbage", "error", "silence", "status")
	}
	if m.has("status") {
		return m.refusal()
	}
	if _, some := m["silence"]; some && m["silence"] == "" {
		return []Step{NoReply()}
	}
	script := []Step{Wait(m.duration("first")), Every(m.duration("delay")), Think(count(m.num("think"))...)}
	if m.has("tool") && !c.Results {
		return append(script, Tool(fmt.Sprintf("call_%d", c.N), m["tool"], m.input()))
	}
	at, fault := m.fault(p, c)
	words := m.words(c.Text)
	script = append(script, Text(words[:min(at, len(words))]...))
	if fault != nil {
		script = append(script, fault)
	}
	script = append(script, Text(words[min(at, len(words)):]...))
	if m.has("length") {
		script = append(script, Finish("length"))
	}
	return script
}

type markers map[string]string

func parseMarkers(text string) markers {
	m := markers{}
	for word := range strings.FieldsSeq(text) {
		if name, ok := strings.CutPrefix(word, "#"); ok {
			name, value, _ := strings.Cut(name, "=")
			m[name] = value
		}
	}
	return m
}

func (m markers) has(name string) bool { _, ok := m[name]; return ok }

func (m markers) drop(names ...string) {
	for _, name := range names {
		delete(m, name)
	}
}

func (m markers) num(name string) int {
	n, _ := strconv.Atoi(m[name])
	return n
}

func (m markers) duration(name string) time.Duration {
	d, _ := time.ParseDuration(m[name])
	return d
}

func (m markers) input() string {
	if m.has("input") {
		return m["input"]
	}
	return "{}"
}

func (m markers) words(text string) []string {
	if m.has("tokens") {
		return count(m.num("tokens"))
	}
	return Words(text)
}

// fault is what happens in mid-answer, and after how many words.
func (m markers) fault(p *Provider, c Call) (at int, fault Step) {
	gate := m["gate"]
	if gate == "" {
		gate = c.Chat()
	}
	for name, step := range map[string]Step{
		"reset":   Reset(),
		"cut":     Truncate(),
		"garbage": Garbage(),
		"silence": Silence(),
		"error":   Fail(Error{Type: "overloaded_error", Code: "overloaded", Message: "Overloaded"}),
	} {
		if m.has(name) {
			return m.num(name), step
		}
	}
	if m.has("hold") {
		return m.num("hold"), Hold(p.Gate(gate))
	}
	return 0, nil
}

func (m markers) refusal() []Step {
	e := Error{Status: m.num("status"), Type: m["type"], Code: m["code"], Message: "refused as asked"}
	if m.has("retry-after") {
		return []Step{Header("Retry-After", m["retry-after"]), Refuse(e)}
	}
	return []Step{Refuse(e)}
}

// count makes n words.
func count(n int) []string {
	words := make([]string, n)
	for i := range words {
		words[i] = "w" + strconv.Itoa(i) + " "
	}
	return words
}
