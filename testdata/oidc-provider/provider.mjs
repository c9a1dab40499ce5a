// An OpenID Provider for tests: the npm package oidc-provider with all that
// the relying party can talk to switched on. It keeps everything in memory,
// listens on loopback only and has fixed secrets. Never run it anywhere else.
//
// Environment:
//   ISSUER           the issuer URL (required)
//   PORT, TLS_PORT   ports; 0 or unset takes a free one
//   TLS_CERT, TLS_KEY, TLS_CA  files; with them a second listener asks for
//                    client certificates (RFC 8705)
//   SELF_SIGNED      file with the certificate of the client self-signed
//   FAPI=1           the FAPI 2.0 profile for every client; else only for those
//                    whose name begins with fapi
//   DPOP_NONCE=1     DPoP proofs need a nonce
//
// It prints one line of JSON, {"port":n,"tlsPort":n}, when it listens, and ends
// when its standard input does. Below /testing/ it answers the tests:
//   GET /testing/counts          requests by path, as {"http":{},"tls":{}}
//   DELETE /testing/counts       starts to count anew
//   PATCH /testing/clients/{id}  changes a client's metadata, for instance
//                                backchannel_logout_uri
//   POST /testing/issuers        {"issuer","jwks_uri"} whose tokens are exchanged
import { createHash, generateKeyPairSync, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import { createRemoteJWKSet } from 'jose';
import Provider from 'oidc-provider';
import { api, clients as makeClients } from './clients.mjs';
import { registerGrants } from './grants.mjs';
import { interaction, logoutPage, loggedOutPage } from './pages.mjs';

const { env } = process;
const issuer = env.ISSUER;
if (!issuer) throw new Error('ISSUER is not set: give the issuer URL');
const here = (name) => new URL(name, import.meta.url);
const file = (path) => (path ? readFileSync(path, 'utf8') : '');
const users = JSON.parse(readFileSync(here('users.json')));
const clientKeys = JSON.parse(readFileSync(here('client-keys.json'))).keys;
const clients = new Map(makeClients(clientKeys, file(env.SELF_SIGNED)).map((c) => [c.client_id, c]));

const signing = [
  ['rsa', { modulusLength: 2048 }, { alg: 'RS256' }],
  ['rsa', { modulusLength: 2048 }, { alg: 'PS256' }],
  ['ec', { namedCurve: 'P-256' }, { alg: 'ES256' }],
  ['ed25519', {}, { alg: 'EdDSA' }],
].map(([type, options, rest]) => {
  const jwk = generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' });
  return { ...jwk, ...rest, use: 'sig', kid: createHash('sha256').update(jwk.n ?? jwk.x).digest('base64url').slice(0, 16) };
});
const encryption = { ...generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ format: 'jwk' }), use: 'enc', kid: 'provider-enc' };
const publicKeys = { keys: signing.map(({ d, p, q, dp, dq, qi, ...jwk }) => jwk) };

// Clients change while tests run, so they are kept in an adapter of our own;
// all else is in a second map, by model and id.
const records = new Map();
class Memory {
  constructor(model) { this.model = model; }

  key(id) { return `${this.model}:${id}`; }

  async find(id) {
    if (this.model === 'Client') return clients.get(id);
    const found = records.get(this.key(id));
    return found && (!found.until || found.until > Date.now()) ? found.payload : undefined;
  }

  async upsert(id, payload, expiresIn) {
    records.set(this.key(id), { payload, until: expiresIn && Date.now() + expiresIn * 1000 });
  }

  async findByUid(uid) { return this.search((p) => p.uid === uid); }

  async findByUserCode(code) { return this.search((p) => p.userCode === code); }

  search(match) {
    for (const [key, { payload }] of records) {
      if (key.startsWith(`${this.model}:`) && match(payload)) return payload;
    }
    return undefined;
  }

  async consume(id) {
    const found = records.get(this.key(id));
    if (found) found.payload.consumed = Math.floor(Date.now() / 1000);
  }

  async destroy(id) { records.delete(this.key(id)); }

  async revokeByGrantId(grantId) {
    for (const [key, { payload }] of records) {
      if (payload.grantId === grantId) records.delete(key);
    }
  }
}

let provider;
const tls = env.TLS_CERT && { cert: file(env.TLS_CERT), key: file(env.TLS_KEY), ca: file(env.TLS_CA) };
const aliases = {};
const profileClaims = ['name', 'given_name', 'family_name', 'preferred_username', 'groups', 'roles'];

async function grantAll(ctx) {
  const { clientId } = ctx.oidc.client;
  const grant = new provider.Grant({ clientId, accountId: ctx.oidc.session.accountId });
  const scopes = [...ctx.oidc.requestParamScopes].join(' ');
  grant.addOIDCScope(scopes);
  grant.addOIDCClaims([...ctx.oidc.requestParamClaims]);
  for (const resource of Object.keys(ctx.oidc.resourceServers)) grant.addResourceScope(resource, scopes);
  await grant.save();
  return grant;
}

const configuration = {
  adapter: Memory,
  jwks: { keys: [...signing, encryption] },
  cookies: { keys: [randomBytes(32).toString('hex')] },
  scopes: ['openid', 'offline_access', 'profile', 'email'],
  claims: { openid: ['sub'], profile: profileClaims, email: ['email', 'email_verified'] },
  acrValues: ['1', '2'],
  // ID tokens carry the claims of their scopes, as most providers' do.
  conformIdTokenClaims: false,
  responseTypes: ['code', 'id_token', 'code id_token', 'none'],
  clientAuthMethods: ['client_secret_basic', 'client_secret_post', 'client_secret_jwt', 'private_key_jwt', 'none',
    ...(tls ? ['tls_client_auth', 'self_signed_tls_client_auth'] : [])],
  extraClientMetadata: { properties: ['access_token_format', 'access_token_seconds', 'extra_claims'] },
  findAccount(ctx, sub) {
    const user = users.find((u) => u.sub === sub);
    return user && {
      accountId: sub,
      claims: async () => ({
        sub, name: user.name, given_name: user.given_name, family_name: user.family_name, preferred_username: user.username,
        email: user.email, email_verified: true, groups: user.groups, roles: user.roles,
      }),
    };
  },
  extraTokenClaims(ctx, token) {
    const user = users.find((u) => u.sub === token.accountId);
    return {
      azp: token.clientId,
      ...token.client?.extra_claims,
      ...(user && { preferred_username: user.username, email: user.email, name: user.name, groups: user.groups, roles: user.roles }),
    };
  },
  interactions: { url: (ctx, { uid }) => `/interaction/${uid}` },
  loadExistingGrant: grantAll,
  issueRefreshToken: async (ctx, client) => client.grantTypeAllowed('refresh_token'),
  expiresWithSession: async () => false,
  // A refresh token is good for one use; its second use ends the grant.
  rotateRefreshToken: true,
  ttl: {
    AccessToken: (ctx, token, client) => client.access_token_seconds ?? 300,
    ClientCredentials: (ctx, token, client) => client.access_token_seconds ?? 300,
    IdToken: 300, RefreshToken: 1800, Session: 3600, Grant: 3600, Interaction: 600,
  },
  features: {
    devInteractions: { enabled: false },
    deviceFlow: { enabled: false },
    backchannelLogout: { enabled: true },
    claimsParameter: { enabled: true },
    clientCredentials: { enabled: true },
    dPoP: { enabled: true, nonceSecret: randomBytes(32), requireNonce: () => env.DPOP_NONCE === '1' },
    encryption: { enabled: true },
    fapi: {
      enabled: true,
      profile: (ctx, client) => (env.FAPI === '1' || client?.clientId.startsWith('fapi') ? '2.0' : undefined),
    },
    introspection: { enabled: true },
    jwtIntrospection: { enabled: true },
    jwtResponseModes: { enabled: true },
    jwtUserinfo: { enabled: true },
    mTLS: {
      enabled: Boolean(tls),
      certificateBoundAccessTokens: true,
      selfSignedTlsClientAuth: true,
      tlsClientAuth: true,
      getCertificate: (ctx) => ctx.socket.getPeerX509Certificate?.(),
      certificateAuthorized: (ctx) => ctx.socket.authorized === true,
      certificateSubjectMatches: (ctx, property, expected) => property === 'tls_client_auth_subject_dn'
        && ctx.socket.getPeerX509Certificate().subject.split('\n').join(',') === expected,
    },
    pushedAuthorizationRequests: { enabled: true },
    requestObjects: { enabled: true },
    resourceIndicators: {
      enabled: true,
      defaultResource: (ctx, client, oneOf) => oneOf ?? (client.access_token_format === 'jwt' ? api : undefined),
      useGrantedResource: () => true,
      getResourceServerInfo: (ctx, resource, client) => ({
        scope: 'openid offline_access profile email', audience: resource, accessTokenFormat: 'jwt',
        accessTokenTTL: client.access_token_seconds ?? 300, jwt: { sign: { alg: client.clientId.startsWith('fapi') ? 'PS256' : 'RS256' } },
      }),
    },
    revocation: { enabled: true, allowedPolicy: (ctx, client, token) => token.clientId === client.clientId },
    rpInitiatedLogout: { enabled: true, logoutSource: logoutPage, postLogoutSuccessSource: loggedOutPage },
    userinfo: { enabled: true },
  },
  // The library calls no loopback address by itself; here everything is there.
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options),
  renderError(ctx, out) {
    ctx.type = 'text';
    ctx.body = `${out.error}: ${out.error_description}\n`;
  },
};

provider = new Provider(issuer, configuration);
// The provider copies its configuration, and the port is known only later.
provider.use(async (ctx, next) => {
  await next();
  if (tls && ctx.path === '/.well-known/openid-configuration' && ctx.body) ctx.body.mtls_endpoint_aliases = aliases;
});
// Key sets by issuer: those whose tokens are exchanged beside our own.
const trusted = new Map();
registerGrants(provider, { users, publicKeys, trusted, findAccount: configuration.findAccount });

// The tests' gateways listen on ports that are not known beforehand.
const loopback = (uri) => {
  const url = URL.parse(uri);
  return Boolean(url) && ['http:', 'https:'].includes(url.protocol) && ['127.0.0.1', '[::1]', 'localhost'].includes(url.hostname)
    && !url.username && !url.hash;
};
for (const name of ['redirectUriAllowed', 'postLogoutRedirectUriAllowed']) {
  const original = provider.Client.prototype[name];
  provider.Client.prototype[name] = function allowed(uri, ...rest) {
    return loopback(uri) || original.call(this, uri, ...rest);
  };
}
for (const event of ['server_error', 'backchannel.error']) provider.on(event, (ctx, err) => console.error(err));

let counts = { http: {}, tls: {} };
const handle = provider.callback();
const answer = (res, status, body) => {
  res.writeHead(status, { 'content-type': 'application/json' });
  res.end(JSON.stringify(body));
};

async function testing(req, res, path) {
  if (path === '/testing/counts') {
    if (req.method === 'DELETE') counts = { http: {}, tls: {} };
    return answer(res, 200, counts);
  }
  let body = '';
  for await (const chunk of req) body += chunk;
  if (path === '/testing/issuers' && req.method === 'POST') {
    const { issuer: other, jwks_uri: keys } = JSON.parse(body);
    trusted.set(other, createRemoteJWKSet(new URL(keys)));
    return answer(res, 200, {});
  }
  const id = decodeURIComponent(path.replace('/testing/clients/', ''));
  if (req.method !== 'PATCH' || !clients.has(id)) return answer(res, 404, { error: 'not found' });
  const changed = { ...clients.get(id), ...JSON.parse(body) };
  for (const [name, value] of Object.entries(changed)) if (value === null) delete changed[name];
  clients.set(id, changed);
  return answer(res, 200, changed);
}

const listener = (kind) => async (req, res) => {
  const path = req.url.split('?', 1)[0];
  try {
    if (path.startsWith('/testing/')) return await testing(req, res, path);
    counts[kind][path] = (counts[kind][path] ?? 0) + 1;
    if (path.startsWith('/interaction/')) return await interaction(provider, users, req, res);
    return handle(req, res);
  } catch (err) {
    if (!res.headersSent) answer(res, err.statusCode ?? 500, { error: err.error ?? 'server_error', error_description: err.message });
    return undefined;
  }
};

const listen = (server, port) => new Promise((resolve, reject) => {
  server.once('error', reject);
  server.listen(Number(port ?? 0), '127.0.0.1', () => resolve(server.address().port));
});
const port = await listen(http.createServer(listener('http')), env.PORT);
let tlsPort;
if (tls) {
  tlsPort = await listen(https.createServer({ ...tls, requestCert: true, rejectUnauthorized: false }, listener('tls')), env.TLS_PORT);
  const base = `https://127.0.0.1:${tlsPort}`;
  Object.assign(aliases, {
    token_endpoint: `${base}/token`,
    introspection_endpoint: `${base}/token/introspection`,
    revocation_endpoint: `${base}/token/revocation`,
    userinfo_endpoint: `${base}/me`,
    pushed_authorization_request_endpoint: `${base}/request`,
  });
}
console.log(JSON.stringify({ port, tlsPort }));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
