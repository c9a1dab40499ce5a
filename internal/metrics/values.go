package metrics

import (
	"strings"

	dto "github.com/prometheus/client_model/go"
)

// Value is one series of a metric.
type Value struct {
	Labels map[string]string
	Value  float64
}

// Values returns the series of all counters and gauges of ours at one moment,
// by their names without the namespace, in the order of their labels.
func (m *Metrics) Values() map[string][]Value {
	families, err := m.registry.Gather()
	if err != nil {
		return nil
	}
	all := map[string][]Value{}
	for _, f := range families {
		name, ours := strings.CutPrefix(f.GetName(), namespace+"_")
		if !ours || f.GetType() != dto.MetricType_COUNTER && f.GetType() != dto.MetricType_GAUGE {
			continue
		}
		for _, s := range f.GetMetric() {
			all[name] = append(all[name], Value{labelsOf(s), s.GetCounter().GetValue() + s.GetGauge().GetValue()})
		}
	}
	return all
}

func labelsOf(s *dto.Metric) map[string]string {
	out := map[string]string{}
	for _, p := range s.GetLabel() {
		out[p.GetName()] = p.GetValue()
	}
	return out
}
