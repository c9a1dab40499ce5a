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
	var runs []*series
	for _, d := range []struct {
		name string
		open func(int) (*bench.Driver, error)
	}{
		{"canned handler", bed.CannedDriver}, {"bearer cached", bed.BearerDriver},
		{"introspection cached", bed.IntrospectionDriver}, {"password cached", bed.PasswordDriver},
	} {
		driver, err := d.open(conns)
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		defer driver.Close()
		runs = append(runs, &series{name: d.name, driver: driver, conns: conns})
	}
	for n := range rounds + 1 {
		for i := range runs {
			if err := runs[(i+n)%len(runs)].measure(length); err != nil {
				return err
			}
		}
		if n == 0 { // warming up
			for _, r := range runs {
				r.rates, r.costs = nil, nil
			}
			continue
		}
		fmt.Printf("round %2d:", n)
		for _, r := range runs {
			fmt.Printf(" %s %.0f", r.name, r.rates[n-1])
		}
		fmt.Println(" requests/s")
	}
	for _, r := range runs {
		fmt.Printf("%-21s %6.0f requests/s, %.1f us of processor time each, host included\n", r.name+":", median(r.rates), median(r.costs))
	}
	for _, r := range runs[2:] {
		fmt.Printf("ratio: %.3f (%s to bearer cached; 0.90 is required)\n", r.against(runs[1]), r.name)
	}
	fmt.Printf("ratio: %.3f (bearer cached to canned handler, median of %d rounds; 0.80 is required)\n", runs[1].against(runs[0]), rounds)
	return nil
}

// against is the median of the rounds' ratios.
func (s *series) against(base *series) float64 {
	var ratios []float64
	for i := range s.rates {
		ratios = append(ratios, s.rates[i]/base.rates[i])
	}
	return median(ratios)
}

// lap is how many events each connection carries between looks at the clock.
const lap = 64

// series is what one driver's rounds came to.
type series struct {
	name   string
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
