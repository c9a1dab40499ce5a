package e2e

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"kong-openid-connect/internal/sandbox/provider"
)

// chromium starts a browser without a window. Where none is installed the test
// says what it leaves out, unless REQUIRE_BROWSER=1 makes that a failure.
func chromium(t *testing.T) context.Context {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		if os.Getenv("REQUIRE_BROWSER") == "1" {
			t.Fatal("chromium is not installed")
		}
		t.Skip("left out: chromium is not installed")
	}
	// The browser's children may still write when it is gone, so not t.TempDir.
	profile, err := os.MkdirTemp("", "chromium")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(profile) })
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.UserDataDir(profile),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true), chromedp.Flag("no-first-run", true), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.WSURLReadTimeout(time.Minute),
	)
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), opts...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// steps runs actions in the browser.
func steps(t *testing.T, ctx context.Context, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// enter fills in the provider's login page.
func enter(user string) chromedp.Tasks {
	return chromedp.Tasks{
		chromedp.WaitVisible("#username", chromedp.ByID),
		chromedp.SendKeys("#username", user, chromedp.ByID),
		chromedp.SendKeys("#password", "doe", chromedp.ByID),
		chromedp.Submit("#password", chromedp.ByID),
	}
}

func TestBrowserLogsInAtADeepLink(t *testing.T) {
	ctx := chromium(t)
	for _, c := range []struct{ name, page, cookie string }{
		{"query", "/app/deep/link?hello=world&n=1", "session"},
		{"form_post", "/form/deep/link?hello=world&n=2", "form"},
	} {
		t.Run(c.name, func(t *testing.T) {
			page := env.Proxy + c.page
			var url, body string
			var cookies []*network.Cookie
			steps(t, ctx, network.ClearBrowserCookies(), chromedp.Navigate(page), enter("alex"),
				chromedp.WaitVisible("pre", chromedp.ByQuery), // Chromium shows JSON in one
				chromedp.Location(&url), chromedp.Text("body", &body, chromedp.ByQuery),
				chromedp.ActionFunc(func(ctx context.Context) (err error) {
					cookies, err = network.GetCookies().WithURLs([]string{page}).Do(ctx)
					return err
				}))
			if url != page {
				t.Errorf("landed on %s, want %s", url, page)
			}
			if !strings.Contains(body, "X-Authenticated-User") && c.name == "query" {
				t.Errorf("the service did not learn who it is: %s", body)
			}
			var found bool
			for _, k := range cookies {
				if k.Name == c.cookie {
					found = true
					if !k.HTTPOnly || k.SameSite != network.CookieSameSiteLax || k.Path != "/" || k.Secure || !k.Session {
						t.Errorf("session cookie: %+v", k)
					}
				}
				if strings.HasPrefix(k.Name, "authorization") || strings.HasPrefix(k.Name, "formlogin") {
					t.Errorf("the login cookie %s is left behind", k.Name)
				}
			}
			if !found {
				t.Errorf("no cookie %s", c.cookie)
			}
			env.provider.ResetRecords()
			faults(t, provider.Fault{Name: "connection-reset"})
			steps(t, ctx, chromedp.Navigate(page+"&again=1"), chromedp.Location(&url))
			if url != page+"&again=1" {
				t.Errorf("the second request went to %s", url)
			}
			if n := len(env.provider.Records("")); n != 0 {
				t.Errorf("the second request needed the provider %d times", n)
			}
		})
	}
}
