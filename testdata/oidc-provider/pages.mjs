// The pages of the test provider: a login form; consent is given by itself.
const escape = (s) => String(s).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);
const page = (title, body) => `<!doctype html><html lang="en"><meta charset="utf-8"><title>${title}</title><h1>${title}</h1>${body}</html>`;

const form = (uid, problem) => page('Log in', `
${problem ? `<p role="alert">${escape(problem)}</p>` : ''}
<form method="post" action="/interaction/${escape(uid)}">
<label>User name <input name="username" autocomplete="username" autofocus required></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button type="submit">Log in</button>
</form>`);

async function body(req) {
  let text = '';
  for await (const chunk of req) {
    text += chunk;
    if (text.length > 65536) throw new Error('the form is too large');
  }
  return new URLSearchParams(text);
}

function show(res, status, html) {
  res.writeHead(status, { 'content-type': 'text/html; charset=utf-8', 'cache-control': 'no-store' });
  res.end(html);
}

// interaction answers /interaction/{uid}: the form by GET, its data by POST.
export async function interaction(provider, users, req, res) {
  const { uid, prompt, params, session } = await provider.interactionDetails(req, res);
  if (prompt.name === 'consent') {
    const grant = new provider.Grant({ clientId: params.client_id, accountId: session.accountId });
    grant.addOIDCScope(params.scope ?? 'openid');
    const grantId = await grant.save();
    return provider.interactionFinished(req, res, { consent: { grantId } }, { mergeWithLastSubmission: true });
  }
  if (req.method !== 'POST') return show(res, 200, form(uid));
  const given = await body(req);
  const user = users.find((u) => u.username === given.get('username'));
  if (!user || user.password !== given.get('password')) return show(res, 200, form(uid, 'Wrong user name or password.'));
  return provider.interactionFinished(req, res, { login: { accountId: user.sub, amr: ['pwd'] } });
}

// logoutPage asks nothing that a test would have to answer differently.
export function logoutPage(ctx, logoutForm) {
  ctx.type = 'html';
  ctx.body = page('Log out', logoutForm.replace('</form>', '<input type="hidden" name="logout" value="yes"><button type="submit">Log out</button></form>'));
}

export function loggedOutPage(ctx) {
  ctx.type = 'html';
  ctx.body = page('Logged out', '<p>You are logged out.</p>');
}
