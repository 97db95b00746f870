package apply

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"keepkey/hooks"
	"keepkey/plan"
)

// install has servers here find a stored certificate version.
func (l *lineage) install(ctx context.Context, a plan.Action) error {
	if l.disk.Live != a.Version {
		if err := l.store.Live.Switch(a.Version); err != nil {
			return err
		}
	}
	return l.commit(ctx, a, plan.Result{Hostname: l.Hostname})
}

// deploy runs one deploy hook for the installed certificate.
func (l *lineage) deploy(ctx context.Context, a plan.Action) error {
	for _, h := range l.cert.Deploy {
		if h.ID() != a.Target {
			continue
		}
		c := l.state.Certificate
		event := l.event(hooks.Deploy)
		event.ID = eventID(l.cert.Name, hooks.Deploy, strconv.Itoa(c.Version), c.Serial, a.Target)
		event.Serial, event.NotBefore, event.NotAfter = c.Serial, c.NotBefore, c.NotAfter
		err := h.Run(ctx, event)
		l.observe(ctx, Observed{Kind: a.Kind, Hook: true, Err: err})
		if err != nil {
			return err
		}
		return l.commit(ctx, a, plan.Result{})
	}
	return fmt.Errorf("the configuration has no deploy hook %s", a.Target)
}

// Bounds of looking at a server.
const (
	checkTime  = 15 * time.Second // a reload takes effect a little after the hook returns
	checkPause = 500 * time.Millisecond
)

// check connects to an address as clients do and looks at the keys served there.
func (l *lineage) check(ctx context.Context, a plan.Action) error {
	limit := l.CheckTime
	if limit == 0 {
		limit = checkTime
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var last *lookError
	for {
		wrong := l.wrongAt(limited, a.Target)
		if wrong == nil {
			return l.commit(ctx, a, plan.Result{})
		}
		if wrong.code == plan.ServedKeyUnknown {
			wrong.code = plan.ServedKeyWrong // after a deployment that is all that it means
		}
		if last == nil || limited.Err() == nil {
			last = wrong // and not that the time was over during the last look
		}
		select {
		case <-limited.Done():
			return last
		case <-time.After(checkPause):
		}
	}
}
