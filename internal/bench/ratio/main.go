// Command ratio compares the bearer path with a handler that decides nothing,
// both in the server over a Unix socket under the same minimal host, with a few
// requests under way at a time, as a worker of Kong's has. Machines are loaded unevenly, so the two run in turn, in many short rounds, and the
// median counts. The last lines are the figures and their ratio. It fails when
// something went wrong, never for a figure.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"kong-openid-connect/internal/bench"
)

func main() {
	rounds := flag.Int("rounds", 41, "`number` of rounds")
	length := flag.Duration("round", 100*time.Millisecond, "`time` that each of the two gets in a round")
	conns := flag.Int("connections", 8, "`number` of connections, each with one request at a time")
	flag.Parse()
	if err := run(max(*rounds, 1), max(*conns, 1), max(*length, 10*time.Millisecond)); err != nil {
		fmt.Fprintln(os.Stderr, "ratio:", err)
		os.Exit(1)
	}
}

func run(rounds, conns int, length time.Duration) error {
	bed, err := bench.NewBed()
	if err != nil {
		return err
	}
	defer bed.Close()
	canned, err := bed.CannedDriver(conns)
	if err != nil {
		return err
	}
	defer canned.Close()
	bearer, err := bed.BearerDriver(conns)
	if err != nil {
		return err
	}
	defer bearer.Close()

	runs := [2]series{{driver: canned, conns: conns}, {driver: bearer, conns: conns}}
	var ratios []float64
	for n := range rounds + 1 {
		for i := range runs {
			if err := runs[(i+n)%2].measure(length); err != nil {
				return err
			}
		}
		if n == 0 { // warming up
			runs[0].rates, runs[0].costs, runs[1].rates, runs[1].costs = nil, nil, nil, nil
			continue
		}
		c, b := runs[0].rates[n-1], runs[1].rates[n-1]
		ratios = append(ratios, b/c)
		fmt.Printf("round %2d: canned %6.0f, bearer %6.0f requests/s, ratio %.3f\n", n, c, b, b/c)
	}
	fmt.Printf("processor time a request, host included: canned %.1f us, bearer %.1f us\n", median(runs[0].costs), median(runs[1].costs))
	fmt.Printf("canned handler: %.0f requests/s\n", median(runs[0].rates))
	fmt.Printf("bearer cached:  %.0f requests/s\n", median(runs[1].rates))
	fmt.Printf("ratio: %.3f (bearer cached to canned handler, median of %d rounds; 0.80 is required)\n", median(ratios), rounds)
	return nil
}

// lap is how many events each connection carries between looks at the clock.
const lap = 64

// series is what one driver's rounds came to.
type series struct {
	driver *bench.Driver
	conns  int
	rates  []float64 // requests a second
	costs  []float64 // microseconds of processor time a request
}

// measure adds a round.
func (s *series) measure(length time.Duration) error {
	begin, used, n := time.Now(), processorTime(), 0
	for {
		if err := s.driver.Run(lap); err != nil {
			return err
		}
		n += lap * s.conns
		if t := time.Since(begin); t >= length {
			s.rates = append(s.rates, float64(n)/t.Seconds())
			s.costs = append(s.costs, float64((processorTime()-used).Microseconds())/float64(n))
			return nil
		}
	}
}

// processorTime returns what this process has used.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
