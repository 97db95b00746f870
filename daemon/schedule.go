package daemon

import (
	"cmp"
	"container/heap"
	"time"
)

// schedule says which lineage is to be worked on next. It is not safe for concurrent use.
type schedule struct {
	queue queue
	of    map[string]*entry
}

// entry is one lineage in the schedule.
type entry struct {
	name  string
	at    time.Time
	index int // in the queue; -1 while it is taken
	again bool
}

// set has a lineage worked on at a time. One that is taken is given back with its own time,
// or at once if that is asked for meanwhile.
func (s *schedule) set(name string, at time.Time) {
	if s.of == nil {
		s.of = make(map[string]*entry)
	}
	e := s.of[name]
	if e == nil {
		e = &entry{name: name, index: -1}
		s.of[name] = e
		e.at = at
		heap.Push(&s.queue, e)
		return
	}
	if e.index < 0 {
		e.again = true
		return
	}
	e.at = at
	heap.Fix(&s.queue, e.index)
}

// take returns a lineage whose time has come, if there is one. It stays away from the
// queue until it is given back.
func (s *schedule) take(now time.Time) (name string, ok bool) {
	if len(s.queue) == 0 || s.queue[0].at.After(now) {
		return "", false
	}
	e := heap.Pop(&s.queue).(*entry)
	return e.name, true
}

// back gives a lineage back that was taken, to be worked on at a time; at once when that
// was asked for meanwhile. One that was removed meanwhile is forgotten.
func (s *schedule) back(name string, at, now time.Time) {
	e := s.of[name]
	if e == nil || e.index >= 0 {
		return
	}
	e.at = at
	if e.again {
		e.at, e.again = now, false
	}
	heap.Push(&s.queue, e)
}

// remove takes a lineage out.
func (s *schedule) remove(name string) {
	if e := s.of[name]; e != nil {
		if e.index >= 0 {
			heap.Remove(&s.queue, e.index)
		}
		delete(s.of, name)
	}
}

// next returns when the first lineage is to be worked on; zero when there is none.
func (s *schedule) next() time.Time {
	if len(s.queue) == 0 {
		return time.Time{}
	}
	return s.queue[0].at
}

// queue is a heap, the earliest first.
type queue []*entry

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return cmp.Or(q[i].at.Compare(q[j].at), cmp.Compare(q[i].name, q[j].name)) < 0
}
func (q queue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *queue) Push(x any) {
	e := x.(*entry)
	e.index = len(*q)
	*q = append(*q, e)
}

func (q *queue) Pop() any {
	last := (*q)[len(*q)-1]
	*q = (*q)[:len(*q)-1]
	last.index = -1
	return last
}
