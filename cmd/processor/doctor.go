package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"processor/internal/bus"
	"processor/internal/chat"
	"processor/internal/store"
)

// DoctorCmd examines a deployment. Its flags are those that the replicas were started with.
type DoctorCmd struct {
	OutputFlags

	NATSFlags     `group:"NATS"`
	DatabaseFlags `group:"Database"`
	StreamFlags   `group:"Replica"`
	TimingFlags   `group:"Timing"`
}

// Verdicts of a check. Only a failed one fails the command.
const (
	fine    = "ok"
	warning = "warn"
	failed  = "fail"
)

// check is one thing that was looked at.
type check struct {
	Name   string `json:"check"`
	Status string `json:"status"`
	Found  string `json:"found"`
	Do     string `json:"do,omitempty"`
}

// Run examines everything that can be reached, and prints what it finds as it goes.
func (c *DoctorCmd) Run(ctx context.Context, std *Streams) error {
	d := &doctor{command: c, ctx: ctx}
	d.bus()
	d.database()
	wrong := false
	for _, found := range d.checks {
		wrong = wrong || found.Status == failed
		if err := c.print(std.Out, found); err != nil {
			return err
		}
	}
	if wrong {
		return errSaid
	}
	return nil
}

func (c *DoctorCmd) print(w io.Writer, found check) error {
	if c.JSON {
		return printJSON(w, found)
	}
	line := fmt.Sprintf("%-5s %-10s %s\n", found.Status, found.Name, found.Found)
	if found.Do != "" {
		line += fmt.Sprintf("%-16s → %s\n", "", found.Do)
	}
	_, err := io.WriteString(w, line)
	return err
}

// doctor is one examination.
type doctor struct {
	command *DoctorCmd
	ctx     context.Context
	checks  []check
}

func (d *doctor) add(name, status, do, format string, args ...any) {
	d.checks = append(d.checks, check{Name: name, Status: status, Found: lines().Replace(fmt.Sprintf(format, args...)), Do: do})
}

// bus looks at NATS, and by way of it at the replicas.
func (d *doctor) bus() {
	c := d.command
	config := c.Bus("doctor", slog.New(slog.DiscardHandler))
	config.AckWait, config.Replicas, config.PartialsMaxBytes = c.AckWait, c.StreamReplicas, int64(c.PartialsMaxBytes)
	b, err := connect(d.ctx, config)
	if err != nil {
		d.add("nats", failed, "", "%v", err)
		return
	}
	defer b.Close()
	problems := b.Verify(d.ctx, chat.WorkerID(uuid.NewString()))
	for _, p := range problems {
		d.add("nats", failed, p.Do, "%s", p.What)
	}
	if len(problems) == 0 {
		d.add("nats", fine, "", "%s: streams, consumers and permissions are as they should be", b.URL())
	}
	d.api(b)
}

func (d *doctor) api(b *bus.Bus) {
	reply, err := ask[chat.WorkersReply](d.ctx, b, "chats.workers", chat.WorkersRequest{})
	if err != nil {
		d.add("api", failed, "start a replica with `processor run`", "%v", err)
		return
	}
	d.add("api", fine, "", "a replica answers")
	live := 0
	for _, w := range reply.Workers {
		if w.Status == chat.WorkerLive {
			live++
		}
		if w.Status == chat.WorkerSuspect {
			d.add("replicas", warning, "see whether its host is overloaded or gone", "%s (%s, pid %d) has had no heartbeat for %s", w.Name, w.Host, w.PID, time.Duration(w.HeartbeatAge)*time.Millisecond)
		}
	}
	if live == 0 {
		d.add("replicas", failed, "see whether the replicas reach PostgreSQL", "none has a fresh heartbeat")
		return
	}
	d.add("replicas", fine, "", "%d alive", live)
}

// database looks at what must hold.
func (d *doctor) database() {
	c := d.command
	if c.DatabaseURL == "" {
		d.add("database", warning, "give --database-url (dev prints it), as the replicas have it", "not examined, and with it what chats are stuck")
		return
	}
	timing, err := c.Timing()
	if err != nil {
		d.add("database", failed, "", "%v", err)
		return
	}
	st, err := store.Open(d.ctx, store.Config{URL: c.DatabaseURL, Pool: 1, Timing: timing, Name: "processor doctor"})
	if err != nil {
		d.add("database", failed, "", "%v", err)
		return
	}
	defer st.Close()
	f, err := examine(d.ctx, st, timing)
	if err != nil {
		d.add("database", failed, "check --database-url, and that PostgreSQL runs", "%v", err)
		return
	}
	d.findings(f, timing)
}

// examine looks a second time when something is wrong: recovery is under way for what the first look alone finds.
func examine(ctx context.Context, st *store.Store, t chat.Timing) (store.Findings, error) {
	first, err := st.Doctor(ctx)
	if err != nil || len(first.Unowned)+len(first.Undispatched) == 0 {
		return first, err
	}
	if !pause(ctx, 4*t.SweepEvery+t.SuspectAfter) {
		return first, context.Cause(ctx)
	}
	second, err := st.Doctor(ctx)
	second.Unowned = both(first.Unowned, second.Unowned)
	second.Undispatched = both(first.Undispatched, second.Undispatched)
	return second, err
}

func both(first, second []store.Stuck) []store.Stuck {
	seen := map[chat.ID]bool{}
	for _, s := range first {
		seen[s.Chat] = true
	}
	var still []store.Stuck
	for _, s := range second {
		if seen[s.Chat] {
			still = append(still, s)
		}
	}
	return still
}

// Thresholds from which a person should know.
const (
	longWait = time.Minute
	skewed   = time.Second
)

func (d *doctor) findings(f store.Findings, t chat.Timing) {
	if err := f.Schema.Err(); err != nil {
		do := ""
		if errors.Is(err, store.ErrSchemaBehind) {
			do = "run `processor migrate`"
		}
		d.add("schema", failed, do, "%v", err)
		return
	}
	d.add("schema", fine, "", "version %d, this program knows %d", f.Schema.Applied, f.Schema.Known)
	if skew := f.ClockSkew.Round(time.Millisecond); skew.Abs() > skewed {
		d.add("clock", warning, "synchronize the clocks: logs are hard to read otherwise, though nothing is decided by this one", "this host is %s apart from the database", skew)
	} else {
		d.add("clock", fine, "", "%s apart from the database, a round trip takes %s", skew, f.RoundTrip.Round(10*time.Microsecond))
	}
	if f.LastSweep > t.LostAfter {
		d.add("sweep", failed, "see whether a replica runs and what it logs: nobody looks for chats whose replica died", "the last one was %s ago", f.LastSweep.Round(time.Second))
	} else {
		d.add("sweep", fine, "", "the last one was %s ago", f.LastSweep.Round(time.Millisecond))
	}
	d.stuck("running without a live owner", f.Unowned, t)
	d.stuck("pending without a dispatch", f.Undispatched, t)
	d.load(f)
}

func (d *doctor) stuck(what string, chats []store.Stuck, t chat.Timing) {
	for _, s := range chats {
		d.add("stuck", failed, "sweeps should end this within "+t.LostAfter.String()+": see whether a replica runs and what it logs", "chat %s is %s, for %s", s.Chat, what, s.For.Round(time.Millisecond))
	}
	if len(chats) == 0 {
		d.add("stuck", fine, "", "no chat is %s", what)
	}
}

func (d *doctor) load(f store.Findings) {
	d.add("chats", fine, "", "%d running, the oldest claim is %s old; %d pending", f.Counts[chat.Running], f.OldestRunning.Round(time.Second), f.Counts[chat.Pending])
	if f.OldestPending > longWait {
		d.add("chats", warning, "start more replicas, or give them more --slots", "one has been pending for %s", f.OldestPending.Round(time.Second))
	}
	if n := f.Counts[chat.Parked]; n > 0 {
		d.add("chats", warning, "see why with `processor ls --status error`, and try again with `processor retry ID`", "%d failed", n)
	}
}
