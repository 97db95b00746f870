package plan

import "time"

// maxFailureText bounds what the state remembers of a failure: an order for a
// hundred names can fail in a hundred ways.
const maxFailureText = 2000

// LookAgain says how long to wait after n looks in vain at a channel: what was
// uploaded can take minutes to show, and should not take days.
func LookAgain(n int) time.Duration {
	return min(time.Minute<<min(n-1, 6), time.Hour)
}

// RecordFailure notes that obtaining a certificate failed and says when to try
// again: after 1, 10, 100 minutes and then daily, sooner when little is left of
// what is live, and never before the CA's Retry-After has passed. jitter in [0, 1)
// spreads the attempts of many hosts over a quarter more.
func (s *State) RecordFailure(text string, now time.Time, retryAfter time.Duration, jitter float64) {
	text = text[:min(len(text), maxFailureText)]
	count := 1
	if s.Failure != nil {
		count = s.Failure.Count + 1
	}
	pause := 24 * time.Hour
	if count <= 3 {
		pause = []time.Duration{time.Minute, 10 * time.Minute, 100 * time.Minute}[count-1]
	}
	if c := s.Certificate; c != nil {
		pause = min(pause, max(c.NotAfter.Sub(now)/8, time.Minute))
	}
	pause = max(pause+time.Duration(float64(pause)/4*jitter), retryAfter)
	s.Failure = &Failure{Count: count, Last: now, Next: now.Add(pause), Error: text}
}
