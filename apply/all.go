package apply

import (
	"context"
	"sync"

	"keepkey/config"
)

// Observer is told how a run over many lineages goes, by one call at a time.
type Observer interface {
	Begin(name string)
	End(i int, rep Report) // i is the lineage's place among those of the run
}

// All works on several lineages, at most limit at a time of those that use one CA, so that
// a CA that is slow keeps no other waiting. One that fails does not keep the others from
// being tried. It returns when all are done.
func (r *Runner) All(ctx context.Context, certs []config.Certificate, o Options, limit int, watch Observer) {
	o.began = r.Now()
	var watching sync.Mutex
	one := func(i int) {
		watching.Lock()
		watch.Begin(certs[i].Name)
		watching.Unlock()
		rep := r.Renew(ctx, certs[i], o)
		watching.Lock()
		watch.End(i, rep)
		watching.Unlock()
	}
	ofCA := make(map[string]chan int)
	var wg sync.WaitGroup
	for i, cert := range certs {
		next := ofCA[cert.ACME.Directory]
		if next == nil {
			next = make(chan int, len(certs))
			ofCA[cert.ACME.Directory] = next
		}
		next <- i
	}
	for _, next := range ofCA {
		close(next)
		for range min(limit, len(next)) {
			wg.Go(func() {
				for i := range next {
					one(i)
				}
			})
		}
	}
	wg.Wait()
}
