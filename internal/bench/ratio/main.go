// Command ratio compares the bearer path with a handler that decides nothing,
// and the other paths that ask no provider with the bearer path, all in the
// server over a Unix socket under the same minimal host, with a few requests
// under way at a time, as a worker of Kong's has. Machines are loaded unevenly,
// so they run in turn, in many short rounds, and the median counts. The last
// lines are the figures and their ratios. It fails when something went wrong,
// never for a figure.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
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
		name     string
		required float64 // ratio to bearer cached; 0 for none
		open     func(int) (*bench.Driver, error)
	}{
		{"canned handler", 0, bed.CannedDriver}, {"bearer cached", 0, bed.BearerDriver},
		{"introspection cached", 0.9, bed.IntrospectionDriver}, {"password cached", 0.9, bed.PasswordDriver},
		{"session cookie", 0, func(n int) (*bench.Driver, error) { return bed.SessionDriver(bed.Login(), n) }},
		{"session in Redis", 0, func(n int) (*bench.Driver, error) { return inRedis(bed, n) }},
	} {
		driver, err := d.open(conns)
		if errors.Is(err, bench.ErrNoRedis) {
			fmt.Printf("left out: %s, as %v\n", d.name, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		defer driver.Close()
		runs = append(runs, &series{name: d.name, required: d.required, driver: driver, conns: conns})
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
	if err := cookieSize(bed); err != nil {
		return err
	}
	for _, r := range runs[2:] {
		required := ""
		if r.required > 0 {
			required = fmt.Sprintf("; %.2f is required", r.required)
		}
		fmt.Printf("ratio: %.3f (%s to bearer cached%s)\n", r.against(runs[1]), r.name, required)
	}
	fmt.Printf("ratio: %.3f (bearer cached to canned handler, median of %d rounds; 0.80 is required)\n", runs[1].against(runs[0]), rounds)
	return nil
}

// inRedis drives the plugin with a session in a Redis of its own.
func inRedis(bed *bench.Bed, conns int) (*bench.Driver, error) {
	host, port, stop, err := bench.StartRedis()
	if err != nil {
		return nil, err
	}
	d, err := bed.SessionDriver(bench.InRedis(bed.Login(), host, port), conns)
	if err != nil {
		stop()
		return nil, err
	}
	d.OnClose(stop)
	return d, nil
}

// cookieSize prints what the cookie of a session holds, and how large it is.
func cookieSize(bed *bench.Bed) error {
	ctx := context.Background()
	i, err := bench.Start(bed.Plugin(), bed.Login())
	if err != nil {
		return err
	}
	in, err := bed.LogIn(ctx, i)
	if err != nil {
		return err
	}
	tokens, err := bed.SessionTokens(ctx, in)
	if err != nil {
		return err
	}
	cookie := len(in.Header["cookie"][0])
	fmt.Printf("session cookie: %d bytes for %d bytes of tokens (%.2f)\n", cookie, tokens, float64(cookie)/float64(tokens))
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
	name     string
	required float64
	driver   *bench.Driver
	conns    int
	rates    []float64 // requests a second
	costs    []float64 // microseconds of processor time a request
}

// measure adds a round.
func (s *series) measure(length time.Duration) error {
	begin, used, n := time.Now(), bench.ProcessorTime(), 0
	for {
		if err := s.driver.Run(lap); err != nil {
			return err
		}
		n += lap * s.conns
		if t := time.Since(begin); t >= length {
			s.rates = append(s.rates, float64(n)/t.Seconds())
			s.costs = append(s.costs, float64((bench.ProcessorTime()-used).Microseconds())/float64(n))
			return nil
		}
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
