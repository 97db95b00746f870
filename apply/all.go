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

// All works on several lineages, at most limit at a time. One that fails does not keep
// the others from being tried. It returns when all are done.
func (r *Runner) All(ctx context.Context, certs []config.Certificate, o Options, limit int, watch Observer) {
	o.began = r.Now()
	next := make(chan int)
	var watching sync.Mutex
	var wg sync.WaitGroup
	for range min(limit, len(certs)) {
		wg.Go(func() {
			for i := range next {
				watching.Lock()
				watch.Begin(certs[i].Name)
				watching.Unlock()
				rep := r.Renew(ctx, certs[i], o)
				watching.Lock()
				watch.End(i, rep)
				watching.Unlock()
			}
		})
	}
	for i := range certs {
		next <- i
	}
	close(next)
	wg.Wait()
}
