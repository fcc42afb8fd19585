package bus

import "time"

// Stuck is what a bus knows of dispatches that go unanswered.
type Stuck struct{ stuck }

// Since takes the outcome of a dispatch.
func (s *Stuck) Since(err error) time.Duration { return s.since(err) }
