// Grants that the library does not have: password (RFC 6749 section 4.3), which
// gateways still meet, and token exchange (RFC 8693).
import { createLocalJWKSet, decodeJwt, jwtVerify } from 'jose';
import { errors } from 'oidc-provider';
import { api } from './clients.mjs';

const accessTokenType = 'urn:ietf:params:oauth:token-type:access_token';

async function allow(provider, client, accountId, scope) {
  const grant = new provider.Grant({ accountId, clientId: client.clientId });
  if (scope) {
    grant.addOIDCScope(scope);
    grant.addResourceScope(api, scope);
  }
  await grant.save();
  return grant;
}

// accessToken makes a token of the client's format; asked is the resource
// argument, which always makes it a JWT.
async function accessToken(provider, ctx, { accountId, grantId, gty, scope, asked, audience }) {
  const { client } = ctx.oidc;
  if (client.dpopBoundAccessTokens) {
    throw new errors.InvalidGrant('this grant makes no DPoP-bound tokens: use client_credentials or authorization_code');
  }
  const at = new provider.AccessToken({ accountId, client, grantId, gty, scope });
  if (asked || audience || client.access_token_format === 'jwt') {
    at.resourceServer = new provider.ResourceServer(asked || api, {
      scope: scope || '', audience: audience || asked || api, accessTokenTTL: client.access_token_seconds ?? 300,
      accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } },
    });
  }
  if (client.tlsClientCertificateBoundAccessTokens) {
    const cert = ctx.socket.getPeerX509Certificate?.();
    if (!cert) throw new errors.InvalidGrant('mutual TLS client certificate not provided');
    at.setThumbprint('x5t', cert);
  }
  return { value: await at.save(), at };
}

export function registerGrants(provider, { users, publicKeys, trusted, findAccount }) {
  const keys = createLocalJWKSet(publicKeys);

  provider.registerGrantType('password', async (ctx) => {
    const { username, password, scope = '', resource } = ctx.oidc.params;
    const user = users.find((u) => u.username === username);
    if (!user || user.password !== password) {
      throw new errors.InvalidGrant('invalid username or password');
    }
    const { client } = ctx.oidc;
    const account = await findAccount(ctx, user.sub);
    ctx.oidc.entity('Account', account);
    const grant = await allow(provider, client, user.sub, scope);
    ctx.oidc.entity('Grant', grant);
    const { value, at } = await accessToken(provider, ctx, {
      accountId: user.sub, grantId: grant.jti, gty: 'password', scope, asked: resource,
    });
    ctx.oidc.entity('AccessToken', at);

    const rt = new provider.RefreshToken({
      accountId: user.sub, client, grantId: grant.jti, gty: 'password', scope, rotations: 0,
      authTime: Math.floor(Date.now() / 1000),
      ...(at.resourceServer ? { resource: at.resourceServer.identifier() } : {}),
    });
    const body = {
      access_token: value,
      expires_in: at.expiration,
      token_type: at.tokenType,
      refresh_token: await rt.save(),
      scope: scope || undefined,
    };
    if (scope.split(' ').includes('openid')) {
      const id = new provider.IdToken({
        ...await account.claims('id_token', scope), auth_time: rt.authTime,
      }, { ctx });
      id.scope = scope;
      body.id_token = await id.issue({ use: 'idtoken' });
    }
    ctx.body = body;
  }, ['username', 'password', 'scope', 'resource']);

  provider.registerGrantType('urn:ietf:params:oauth:grant-type:token-exchange', async (ctx) => {
    const { subject_token: subject, subject_token_type: type, scope, audience, resource } = ctx.oidc.params;
    if (!subject || type !== accessTokenType) {
      throw new errors.InvalidRequest(`subject_token and a subject_token_type of ${accessTokenType} are required`);
    }
    let of = await provider.AccessToken.find(subject);
    if (!of) {
      try {
        const { iss } = decodeJwt(subject);
        if (trusted.has(iss)) {
          const { payload } = await jwtVerify(subject, trusted.get(iss), { issuer: iss });
          of = { accountId: users.find((u) => u.username === payload.preferred_username).sub, scope: payload.scope };
        } else {
          const { payload } = await jwtVerify(subject, keys, { issuer: provider.issuer, typ: 'at+jwt' });
          of = { accountId: payload.sub, scope: payload.scope };
        }
      } catch {
        throw new errors.InvalidGrant('the subject token is not valid');
      }
    }
    const granted = scope ?? of.scope ?? '';
    const grant = await allow(provider, ctx.oidc.client, of.accountId, granted);
    const { value, at } = await accessToken(provider, ctx, {
      accountId: of.accountId, grantId: grant.jti, gty: 'token-exchange', scope: granted, asked: resource, audience,
    });
    ctx.body = {
      access_token: value,
      issued_token_type: accessTokenType,
      expires_in: at.expiration,
      token_type: at.tokenType,
      scope: granted || undefined,
    };
  }, ['subject_token', 'subject_token_type', 'actor_token', 'actor_token_type', 'requested_token_type', 'audience', 'resource', 'scope']);
}
