package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"processor/internal/bus"
	"processor/internal/chat/llm/llmtest"
	"processor/internal/local/faultproxy"
)

// strike carries out a plan, and returns when the last fault has ended.
func (a *arena) strike(p plan) {
	for _, f := range p {
		select {
		case <-time.After(time.Until(a.started.Add(f.At))):
		case <-a.over:
			return
		}
		a.struck[f.Kind]++
		a.faults.Go(func() {
			if err := a.strikeOne(f); err != nil {
				a.t.Errorf("the fault could not be made: %s: %v", f, err)
			}
		})
	}
	a.faults.Wait()
}

// lasts waits until a fault is over.
func (a *arena) lasts(f fault) {
	select {
	case <-time.After(f.For):
	case <-a.over:
	}
}

func (a *arena) strikeOne(f fault) error {
	switch f.Kind {
	case killReplica:
		a.slots[f.Target].kill()
		a.lasts(f)
		a.slots[f.Target].spawn()
	case endReplica:
		a.slots[f.Target].replace()
	case freezeReplica, freezeForLong:
		defer a.troubled(f.Target, "itself", time.Now())
		resume := a.slots[f.Target].freeze()
		a.lasts(f)
		resume()
	case restartNATS, haltNATS, wipeNATS, deleteStream:
		return a.strikeNATS(f)
	case restartPostgres, haltPostgres:
		return a.strikePostgres(f)
	case cutLink, refuseLink, stallLink, slowLink, loseReply, loseAnswer:
		return a.strikeLink(f)
	default:
		a.mood.Store(&f)
		a.lasts(f)
		a.mood.CompareAndSwap(&f, nil)
	}
	return nil
}

func (a *arena) strikeNATS(f fault) error {
	if f.Kind == deleteStream {
		return a.deleteStream()
	}
	defer a.troubled("", "nats", time.Now())
	switch f.Kind {
	case restartNATS:
		return a.nats.Restart(a.ctx)
	case wipeNATS:
		return a.nats.Wipe(a.ctx)
	default:
		a.nats.Halt()
		a.lasts(f)
		return a.nats.Start(a.ctx)
	}
}

// deleteStream does nothing when the stream is not there, as after a wipe.
func (a *arena) deleteStream() error {
	nc, err := natsConn(a.nats.URL())
	if err != nil {
		return err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(a.ctx, 5*time.Second)
	defer cancel()
	if err := js.DeleteStream(ctx, bus.ChatsStream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
		return err
	}
	return nil
}

func (a *arena) strikePostgres(f fault) error {
	defer a.troubled("", "postgres", time.Now())
	if f.Kind == restartPostgres {
		return a.pg.Restart(a.ctx, true)
	}
	a.pg.Halt(a.ctx, false)
	a.lasts(f)
	return a.pg.Start(a.ctx)
}

func (a *arena) strikeLink(f fault) error {
	p := a.links[f.Target]
	slot, server, _ := strings.Cut(f.Target, "-")
	defer a.troubled(slot, server, time.Now())
	switch f.Kind {
	case cutLink:
		p.Cut()
		return nil
	case refuseLink:
		p.Refuse()
		p.Cut()
	case stallLink:
		p.Stall()
	case slowLink:
		p.Delay(30 * time.Millisecond)
	case loseReply:
		p.CutReply(faultproxy.Contains("sender"), faultproxy.PostgresDone) // every statement about a sender's chat names it
		return nil
	case loseAnswer:
		p.CutReply(changesChat, nil)
		return nil
	}
	a.lasts(f)
	return p.Heal()
}

// changesChat matches what a client asks for that does something, over NATS and over HTTP.
func changesChat(request []byte) bool {
	for _, word := range []string{"PUB chats.send ", "PUB chats.truncate ", "/messages HTTP/", "/truncate HTTP/"} {
		if bytes.Contains(request, []byte(word)) {
			return true
		}
	}
	return false
}

// question is what senders ask: how many words are to be said, and how fast.
func question(client string, words int, delay time.Duration) string {
	return fmt.Sprintf("say %s %d %s", client, words, delay)
}

// parseQuestion reads what question made. Of several, which stand together when the turns between them ended without a word, it is the last.
func parseQuestion(text string) (client string, words int, delay time.Duration) {
	var pause string
	if _, err := fmt.Sscanf(text[max(0, strings.LastIndex(text, "say ")):], "say %s %d %s", &client, &words, &pause); err != nil {
		return "", 0, 0
	}
	delay, _ = time.ParseDuration(pause)
	return client, words, delay
}

// saying are the words of an answer. Each names the message that it answers and the epoch of the call, so that no word can be taken for another's.
func saying(client string, epoch int64, n int) []string {
	words := make([]string, n)
	for i := range words {
		words[i] = fmt.Sprintf("%s/%d/%d ", client, epoch, i)
	}
	return words
}

// answer is the provider: it says what it was asked to say, and in a bad mood does something else to every second call.
func (a *arena) answer(c llmtest.Call) []llmtest.Step {
	client, n, delay := parseQuestion(c.Text)
	words := saying(client, keyOf(c.ID).epoch, n)
	plain := []llmtest.Step{llmtest.Every(delay), llmtest.Text(words...)}
	mood := a.mood.Load()
	dice := fnv.New32a()
	fmt.Fprint(dice, c.ID, a.seed)
	if mood == nil || dice.Sum32()%2 == 0 {
		return plain
	}
	half := []llmtest.Step{llmtest.Every(delay), llmtest.Text(words[:n/2]...)}
	switch mood.Kind {
	case modelBusy:
		return []llmtest.Step{llmtest.RetryAfter(time.Second), llmtest.RateLimited()}
	case modelBroken:
		return []llmtest.Step{llmtest.Overloaded()}
	case modelRefuses:
		return []llmtest.Step{llmtest.WrongKey()}
	case modelResets:
		return append(half, llmtest.Reset())
	case modelGarbles:
		return append(half, llmtest.Garbage())
	case modelSilent:
		return append(half, llmtest.Silence())
	default:
		return append([]llmtest.Step{llmtest.Wait(time.Second)}, append([]llmtest.Step{llmtest.Every(4 * delay)}, plain[1:]...)...)
	}
}

// callKey is a call's header, taken apart.
type callKey struct {
	chat       string
	turn, step int
	epoch      int64
	attempt    int
	wellFormed bool
}

func keyOf(id string) (k callKey) {
	parts := strings.Split(id, "/")
	if len(parts) != 5 {
		return k
	}
	k.chat = parts[0]
	n, err := fmt.Sscan(strings.Join(parts[1:], " "), &k.turn, &k.step, &k.epoch, &k.attempt)
	k.wellFormed = err == nil && n == 4
	return k
}
