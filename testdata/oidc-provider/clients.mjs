// The clients of the test provider. Their names and secrets are the same at
// Keycloak (testdata/keycloak) and in internal/testproviders; all are public
// test values.
import { X509Certificate } from 'node:crypto';

export const api = 'https://api.example.test';

const exchange = 'urn:ietf:params:oauth:grant-type:token-exchange';
const rsaOnly = (alg) => ({
  id_token_encrypted_response_alg: alg,
  id_token_encrypted_response_enc: 'A256GCM',
  userinfo_signed_response_alg: 'RS256',
  userinfo_encrypted_response_alg: alg,
  userinfo_encrypted_response_enc: 'A256GCM',
  introspection_encrypted_response_alg: alg,
  introspection_encrypted_response_enc: 'A256GCM',
  authorization_encrypted_response_alg: alg,
  authorization_encrypted_response_enc: 'A256GCM',
});

// clients(keys, selfSigned): keys are the private JWKs of client-keys.json,
// selfSigned the PEM of the certificate of self_signed_tls_client_auth, or ''.
export function clients(keys, selfSigned) {
  const publicKeys = (...kids) => ({
    keys: keys.filter(({ kid }) => kids.includes(kid)).map(({ d, p, q, dp, dq, qi, ...jwk }) => jwk),
  });
  const client = (id, metadata = {}) => ({
    client_id: id,
    client_name: id,
    ...(['none', 'private_key_jwt', 'tls_client_auth', 'self_signed_tls_client_auth'].includes(metadata.token_endpoint_auth_method)
      ? {} : { client_secret: `${id}-secret-0123456789abcdef0123456789abcdef` }),
    grant_types: ['authorization_code', 'refresh_token', 'password',
      ...(metadata.token_endpoint_auth_method === 'none' ? [] : ['client_credentials', exchange])],
    response_types: ['code'],
    // Every URL on loopback is allowed beside this one: see provider.mjs.
    redirect_uris: ['https://client.example.test/callback'],
    post_logout_redirect_uris: ['https://client.example.test/'],
    ...metadata,
  });

  const list = [
    client('kong', { access_token_format: 'jwt', extra_claims: { tier: 'gold' } }),
    client('second', { access_token_format: 'jwt', extra_claims: { tier: 'silver' } }),
    client('opaque'),
    client('short', { access_token_format: 'jwt', access_token_seconds: 2 }),
    client('post', { token_endpoint_auth_method: 'client_secret_post' }),
    client('secret-jwt', { token_endpoint_auth_method: 'client_secret_jwt' }),
    client('key-jwt', { token_endpoint_auth_method: 'private_key_jwt', jwks: publicKeys('client-rsa', 'client-ec') }),
    client('tls', { token_endpoint_auth_method: 'tls_client_auth', tls_client_auth_subject_dn: 'CN=tls' }),
    client('public', { token_endpoint_auth_method: 'none' }),
    client('dpop', { access_token_format: 'jwt', dpop_bound_access_tokens: true }),
    client('mtls-bound', { access_token_format: 'jwt', tls_client_certificate_bound_access_tokens: true }),
    client('par', { require_pushed_authorization_requests: true }),
    client('jar', { require_signed_request_object: true, jwks: publicKeys('client-rsa', 'client-ec') }),
    client('hybrid', {
      grant_types: ['authorization_code', 'implicit', 'refresh_token', 'password'],
      response_types: ['code', 'code id_token', 'id_token'],
    }),
    client('signed', {
      userinfo_signed_response_alg: 'RS256',
      introspection_signed_response_alg: 'RS256',
    }),
    client('encrypted', { ...rsaOnly('RSA-OAEP-256'), jwks: publicKeys('client-rsa-enc') }),
    client('encrypted-ec', { ...rsaOnly('ECDH-ES'), jwks: publicKeys('client-ec-enc') }),
    client('fapi', {
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256',
      id_token_signed_response_alg: 'PS256',
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
      access_token_format: 'jwt',
      dpop_bound_access_tokens: true,
      require_pushed_authorization_requests: true,
      jwks: publicKeys('client-ec'),
    }),
    client('fapi-message', {
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256',
      id_token_signed_response_alg: 'PS256',
      authorization_signed_response_alg: 'PS256',
      introspection_signed_response_alg: 'PS256',
      request_object_signing_alg: 'ES256',
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
      dpop_bound_access_tokens: true,
      require_pushed_authorization_requests: true,
      require_signed_request_object: true,
      response_modes: ['jwt'],
      jwks: publicKeys('client-ec'),
    }),
    client('fapi-key', {
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256',
      id_token_signed_response_alg: 'PS256',
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
      access_token_format: 'jwt',
      require_pushed_authorization_requests: true,
      jwks: publicKeys('client-ec'),
    }),
    client('fapi-tls', {
      token_endpoint_auth_method: 'tls_client_auth',
      tls_client_auth_subject_dn: 'CN=tls',
      id_token_signed_response_alg: 'PS256',
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
      access_token_format: 'jwt',
      tls_client_certificate_bound_access_tokens: true,
      require_pushed_authorization_requests: true,
    }),
    client('fapi-signing', {
      token_endpoint_auth_method: 'private_key_jwt',
      token_endpoint_auth_signing_alg: 'ES256',
      id_token_signed_response_alg: 'PS256',
      authorization_signed_response_alg: 'PS256',
      request_object_signing_alg: 'ES256',
      grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
      access_token_format: 'jwt',
      require_pushed_authorization_requests: true,
      require_signed_request_object: true,
      response_modes: ['jwt'],
      jwks: publicKeys('client-ec'),
    }),
    client('dpop-opaque', { dpop_bound_access_tokens: true }),
  ];
  if (selfSigned) {
    const cert = new X509Certificate(selfSigned);
    list.push(client('self-signed', {
      token_endpoint_auth_method: 'self_signed_tls_client_auth',
      jwks: { keys: [{ ...cert.publicKey.export({ format: 'jwk' }), kid: 'self-signed', x5c: [cert.raw.toString('base64')] }] },
    }));
  }
  return list;
}
