package main

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// sabotage breaks one rule on purpose: a trigger of the run's own database spoils what the store writes.
type sabotage struct {
	name string
	sql  string
	plan plan
	// truncaters is how many clients cut chats off, beside those who send.
	truncaters int
	// rule is the one that the checker must find broken, quiet how long it takes to be sure.
	rule  string
	quiet time.Duration
}

// sabotageLength is enough for the plans.
const sabotageLength = 6 * time.Second

func sabotages() []sabotage {
	deploys := plan{
		{At: 1500 * time.Millisecond, Kind: endReplica, Target: "a"}, {At: 3 * time.Second, Kind: endReplica, Target: "b"},
		{At: 4500 * time.Millisecond, Kind: endReplica, Target: "c"}, {At: 5 * time.Second, Kind: killReplica, Target: "a", For: 100 * time.Millisecond},
	}
	blackout := plan{
		{At: 2 * time.Second, Kind: haltNATS, Target: "nats", For: 5 * time.Second}, {At: 2100 * time.Millisecond, Kind: endReplica, Target: "a"},
		{At: 2200 * time.Millisecond, Kind: endReplica, Target: "b"}, {At: 2300 * time.Millisecond, Kind: endReplica, Target: "c"},
	}
	return []sabotage{
		{
			// The guard compares epochs that never differ: it is as good as if it ignored them.
			"epochs do not rise",
			spoil("update", "chats", "new.epoch := case when old.epoch > 0 then old.epoch else new.epoch end; new.void_epoch := 0;"),
			deploys, 0, rules()[5].name, 3 * time.Second,
		},
		{
			"a wake that was lost is never repaired",
			spoil("update", "chats", "if new.status = 'pending' then new.dispatch_at := now() + interval '1 hour'; end if;"),
			blackout, 0, rules()[3].name, 20 * time.Second,
		},
		{
			"deploys are charged",
			spoil("update", "chats", `if old.status = 'running' and new.status = 'pending' then
				new.takeovers := old.takeovers + 1; new.recoveries := old.recoveries + 1; end if;`),
			deploys, 0, rules()[9].name, 3 * time.Second,
		},
		{
			"some messages lose their name",
			spoil("insert", "messages", "if new.client_id like '%3' then new.client_id := new.client_id || '?'; end if;"),
			nil, 0, rules()[0].name, 3 * time.Second,
		},
		{
			"answers survive what they answered",
			spoil("delete", "messages", "if old.finish in ('stop', 'interrupted') then return null; end if;"),
			nil, 2, rules()[12].name, 3 * time.Second,
		},
		{
			// Replicas that remember the chat take the end of what they know for the message that came in place of it.
			"what comes after a cut takes the id of what went",
			spoil("insert or delete", "messages", `if tg_op = 'DELETE' then
				if old.id > coalesce(nullif(split_part(current_setting('chaos.cut', true), ' ', 1), ''), '0')::bigint then
					perform set_config('chaos.cut', old.id || ' ' || extract(epoch from old.created_at), true);
				end if;
			elsif current_setting('chaos.cut', true) <> '' then
				new.id := split_part(current_setting('chaos.cut'), ' ', 1)::bigint;
				new.created_at := to_timestamp(split_part(current_setting('chaos.cut'), ' ', 2)::numeric);
			end if;`),
			nil, 2, rules()[13].name, 3 * time.Second,
		},
	}
}

// spoil makes a trigger that changes rows before they are written.
func spoil(event, table, change string) string {
	return `create function chaos.spoil() returns trigger language plpgsql as $$ begin ` + change + `
		if tg_op = 'DELETE' then return old; end if; return new; end $$;
		create trigger spoil before ` + event + ` on processor.` + table + ` for each row execute function chaos.spoil();`
}

// TestChaosIsSeen lets the checker judge runs in which a rule is broken. It tries them all in `make chaos`, and the first, which the rest hangs on,
// in every test.
//
//nolint:tparallel,paralleltest // one run after another: each has three replicas and two servers
func TestChaosIsSeen(t *testing.T) {
	t.Parallel()
	broken := sabotages()
	if _, chosen := chosenChaos(t); !chosen {
		broken = broken[:1]
	}
	for _, s := range broken {
		t.Run(s.name, func(t *testing.T) {
			// On a slow machine too little may happen in a run to break the rule: the next one takes longer.
			for doubled, seen := 0, false; !seen; doubled++ {
				if doubled == 3 {
					t.Fatal("the checker did not see it")
				}
				if !t.Run(fmt.Sprint("in ", sabotageLength<<doubled), func(t *testing.T) { seen = s.seen(t, doubled) }) {
					return
				}
			}
		})
	}
}

// seen says whether the checker finds the rule broken, in a run of which everything takes twice as long, as often as doubled says.
func (s sabotage) seen(t *testing.T, doubled int) bool {
	t.Helper()
	size := crowdSize{senders: 4, truncaters: s.truncaters}
	c := chaos{seed: 1, length: sabotageLength << doubled, size: size, plan: slices.Clone(s.plan), sabotage: s.sql, quiet: s.quiet}
	for i := range c.plan {
		c.plan[i].At <<= doubled
		c.plan[i].For <<= doubled
	}
	found := verdict(c.run(t))
	t.Logf("%d violations, the first: %v", len(found), found[:min(1, len(found))])
	return slices.ContainsFunc(found, func(v violation) bool { return v.Rule == s.rule })
}
