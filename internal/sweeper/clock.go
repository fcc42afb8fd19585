package sweeper

import "time"

// clock compares the database's clock with how time passes here. When that clock is set forward, all heartbeats are old in that moment, and who has not
// beaten since would be declared lost. The same shows when this host was frozen: it knows no more then of who has beaten meanwhile.
type clock struct {
	// database is what the database's clock showed in the last pass, which was begun at sent.
	database, sent time.Time
	// steady is since when the two agree; for a time of LostAfter before that, age proves nothing.
	steady time.Time
}

// latest is what the database's clock can show at most.
func (c *clock) latest(now time.Time, slack time.Duration) time.Time {
	return c.database.Add(now.Sub(c.sent) + slack)
}

// read takes the database's clock as a pass saw it that was begun at sent.
func (c *clock) read(database, sent time.Time, slack time.Duration) {
	if c.database.IsZero() || database.After(c.latest(sent, slack)) {
		c.steady = sent
	}
	c.database, c.sent = database, sent
}
