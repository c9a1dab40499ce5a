package e2e

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"kong-openid-connect/internal/sandbox/provider"
)

// cookieOf returns the browser's cookie of a name as a Cookie header.
func cookieOf(t *testing.T, ctx context.Context, name string) string {
	t.Helper()
	var all []*network.Cookie
	steps(t, ctx, chromedp.ActionFunc(func(ctx context.Context) (err error) {
		all, err = network.GetCookies().WithURLs([]string{env.Proxy}).Do(ctx)
		return err
	}))
	for _, k := range all {
		if k.Name == name {
			return k.Name + "=" + k.Value
		}
	}
	t.Fatalf("the browser has no cookie %s", name)
	return ""
}

// A day at work: log in, work, be idle for too long, log in again, log out. Then
// neither the back button nor the provider knows the person any more.
func TestBrowserWorksIdlesAndLogsOut(t *testing.T) {
	ctx := chromium(t)
	var url, body string
	page := func(path string) chromedp.Tasks {
		return chromedp.Tasks{chromedp.Navigate(env.Proxy + path), chromedp.WaitVisible("pre", chromedp.ByQuery), chromedp.Location(&url), chromedp.Text("body", &body, chromedp.ByQuery)}
	}
	works := func(path string) {
		t.Helper()
		if url != env.Proxy+path || !strings.Contains(body, "X-Authenticated-User: alex") {
			t.Fatalf("on %s: %s", url, body)
		}
	}
	steps(t, ctx, network.ClearBrowserCookies(), chromedp.Navigate(env.Proxy+"/work/desk"), enter("alex"),
		chromedp.WaitVisible("pre", chromedp.ByQuery), chromedp.Location(&url), chromedp.Text("body", &body, chromedp.ByQuery))
	works("/work/desk")
	env.provider.ResetRecords()
	for _, path := range []string{"/work/mail", "/work/plans"} {
		steps(t, ctx, page(path))
		works(path)
	}
	if n := len(env.provider.Records("")); n != 0 {
		t.Errorf("work needed the provider %d times", n)
	}

	// A copy of the cookie in the browser idles as that does, and can be asked.
	first := cookieOf(t, ctx, "work")
	for deadline := time.Now().Add(20 * time.Second); newBrowser(t).get("/work/desk", "Cookie", first).StatusCode != 302; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the session does not idle out")
		}
	}
	env.provider.ResetRecords()
	steps(t, ctx, page("/work/late")) // the provider still knows the person
	works("/work/late")
	if n := count(provider.EndpointToken); n != 1 {
		t.Errorf("%d token requests after idling out, want a login", n)
	}
	second := cookieOf(t, ctx, "work")

	env.provider.ResetRecords()
	steps(t, ctx, chromedp.Navigate(env.Proxy+"/work/logout"), chromedp.WaitVisible("pre", chromedp.ByQuery), chromedp.Location(&url))
	if !strings.HasSuffix(url, "/bye") {
		t.Errorf("after the logout the browser is on %s", url)
	}
	if n := count(provider.EndpointEndSession); n != 1 {
		t.Errorf("%d logouts at the provider", n)
	}
	newBrowser(t).get("/work/desk", "Cookie", second).want(t, 302)

	steps(t, ctx, chromedp.NavigateBack(), chromedp.WaitVisible("#username, pre", chromedp.ByQuery), chromedp.Location(&url), chromedp.Text("body", &body, chromedp.ByQuery))
	if !strings.HasPrefix(url, env.Issuer) || strings.Contains(body, "X-Authenticated-User") {
		t.Errorf("the back button shows %s: %s", url, body)
	}
	steps(t, ctx, chromedp.Navigate(env.Proxy+"/work/desk"), enter("blake"), chromedp.WaitVisible("pre", chromedp.ByQuery), chromedp.Text("body", &body, chromedp.ByQuery))
	if !strings.Contains(body, "X-Authenticated-User: blake") {
		t.Errorf("the next person is shown %s", body)
	}
}

func TestBrowserFinishesTwoLoginsAtOnce(t *testing.T) {
	one := chromium(t)
	steps(t, one, network.ClearBrowserCookies())
	two, cancel := chromedp.NewContext(one)
	t.Cleanup(cancel)
	tabs := []struct {
		ctx  context.Context
		page string
		url  string
	}{{ctx: one, page: "/app/tab/one?n=1"}, {ctx: two, page: "/app/tab/two?n=2"}}
	steps(t, two, chromedp.Navigate("about:blank"))
	both := func(actions func(i int) chromedp.Tasks) {
		t.Helper()
		var wg sync.WaitGroup
		for i := range tabs {
			wg.Go(func() {
				if err := chromedp.Run(tabs[i].ctx, actions(i)); err != nil {
					t.Errorf("tab %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			t.FailNow()
		}
	}
	both(func(i int) chromedp.Tasks {
		return chromedp.Tasks{chromedp.Navigate(env.Proxy + tabs[i].page), chromedp.WaitVisible("#username", chromedp.ByID)}
	})
	env.provider.ResetRecords()
	both(func(i int) chromedp.Tasks {
		return chromedp.Tasks{enter("alex"), chromedp.WaitVisible("pre", chromedp.ByQuery), chromedp.Location(&tabs[i].url)}
	})
	for _, tab := range tabs {
		if tab.url != env.Proxy+tab.page {
			t.Errorf("the tab that asked for %s is on %s", tab.page, tab.url)
		}
	}
	// Both logins may have got one cookie: then the tab that lost it is led to its page by the other's session, or begins again.
	if n := count(provider.EndpointToken); n < 1 || n > 2 {
		t.Errorf("%d token requests for two logins", n)
	}
}
