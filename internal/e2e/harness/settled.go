package harness

import (
	"fmt"
	"io"
	"net/http"
	"time"
)

// inARow is how often an answer has to be as wanted before it counts as that
// of every worker: each connection is some worker's.
const inARow = 24

// Settled asks an address, over a new connection each time, until the answer
// is as wanted inARow times; the error tells the last answer after 30 seconds.
func Settled(address string, header http.Header, want func(*http.Response, string) bool) error {
	c := &http.Client{
		Timeout:       10 * time.Second,
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	deadline := time.Now().Add(30 * time.Second)
	last := ""
	for good := 0; good < inARow; {
		r, err := http.NewRequest("GET", address, nil)
		if err != nil {
			return err
		}
		for k, v := range header {
			r.Header[k] = v
		}
		resp, err := c.Do(r)
		if err == nil {
			var body []byte
			body, err = io.ReadAll(resp.Body)
			resp.Body.Close()
			last = fmt.Sprintf("%s %.200s", resp.Status, body)
			if err == nil && want(resp, string(body)) {
				good++
				continue
			}
		}
		if err != nil {
			last = err.Error()
		}
		good = 0
		if time.Now().After(deadline) {
			return fmt.Errorf("GET %s: the last answer is %s", address, last)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}
