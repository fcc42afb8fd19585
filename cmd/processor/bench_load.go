package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// openLoop calls do for 0 to n-1 on time, however long the calls before take, each from a goroutine of its own, and waits for all.
// What is measured from the intended time has no coordinated omission: a stall counts for everybody who had to wait for it.
func openLoop(ctx context.Context, rate float64, n int, do func(i int, intended time.Time)) error {
	var group sync.WaitGroup
	defer group.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	start := time.Now()
	for i := range n {
		intended := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if wait := time.Until(intended); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		group.Go(func() { do(i, intended) })
	}
	return nil
}

// reading is what was counted up to a time, by the replicas and by the database.
type reading struct {
	at      time.Time
	metrics map[string]float64 // sums over the replicas that are asked
	commits float64
	beats   float64 // heartbeat statements by pg_stat_statements, negative where it is not there
}

// read asks the replicas that the rig started, and the database.
func (r *rig) read(ctx context.Context) (reading, error) {
	now := reading{metrics: map[string]float64{}}
	for _, c := range r.replicas {
		if err := scrape(ctx, c.http, now.metrics); err != nil {
			return reading{}, err
		}
	}
	const commits = `select pg_stat_clear_snapshot(), xact_commit from pg_stat_database where datname = current_database()`
	var nothing any
	if err := r.conn.QueryRow(ctx, commits).Scan(&nothing, &now.commits); err != nil {
		return reading{}, fmt.Errorf("count the transactions: %w", err)
	}
	const beats = `select coalesce(sum(calls), 0) from pg_stat_statements where query like '%update processor.workers w set heartbeat_at%'`
	if err := r.conn.QueryRow(ctx, beats).Scan(&now.beats); err != nil {
		now.beats = -1
	}
	now.at = time.Now()
	return now, nil
}

// scrape adds the metrics of one replica.
func scrape(ctx context.Context, address string, sums map[string]float64) error {
	ctx, cancel := context.WithTimeout(ctx, metricsTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	if err != nil {
		return err
	}
	reply, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("read the metrics of a replica: %w", err)
	}
	defer reply.Body.Close()
	for lines := bufio.NewScanner(reply.Body); ; {
		if !lines.Scan() {
			return lines.Err()
		}
		name, value, found := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); err == nil && found {
			sums[name] += v
		}
	}
}

// since is how much a metric rose per second, and per is how much in all.
func (a reading) since(b reading, metric string) float64 {
	return (a.metrics[metric] - b.metrics[metric]) / a.at.Sub(b.at).Seconds()
}

// costs adds what the replicas and the database did between two readings.
func (b *benchReport) costs(from, to reading, turns float64) {
	seconds := to.at.Sub(from.at).Seconds()
	if len(to.metrics) > 0 {
		b.figure("CPU of the replicas", to.since(from, "process_cpu_seconds_total"), "cores")
		b.figure("memory of the replicas", to.metrics["process_resident_memory_bytes"]/(1<<20), "MiB")
	}
	b.figure("transactions", (to.commits-from.commits)/seconds, "commits/s")
	if turns > 0 {
		b.figure("transactions per turn", (to.commits-from.commits)/turns, "commits")
	}
}

// awaitCalls waits until all n messages from first on were heard by the provider, and says what is wrong if they were not.
func (r *rig) awaitCalls(ctx context.Context, limit time.Duration, first, n int64) error {
	missing := n
	err := r.calls.await(ctx, limit, func() bool {
		missing = 0
		for i := first; i < first+n; i++ {
			if len(r.calls.of[i]) == 0 {
				missing++
			}
		}
		return missing == 0
	})
	if err != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("after %s the model was not called for %d of %d messages", limit, missing, n)
	}
	return err
}
