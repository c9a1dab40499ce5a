package bench

import "testing"

func BenchmarkSocketCanned(b *testing.B)       { socket(b, (*Bed).CannedDriver) }
func BenchmarkSocketBearerCached(b *testing.B) { socket(b, (*Bed).BearerDriver) }

// socket drives a server over one connection: what a request takes by itself.
// The command ratio drives several at a time.
func socket(b *testing.B, open func(*Bed, int) (*Driver, error)) {
	d, err := open(newBed(b), 1)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	b.ReportAllocs()
	for b.Loop() {
		if err := d.Run(1); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "req/s")
}
