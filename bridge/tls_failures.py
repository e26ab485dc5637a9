"""Why a TLS connection did not come about, in plain words and what to do. OpenSSL's own words stand in brackets."""

from __future__ import annotations

import ssl
from typing import Final

from bridge.errors import BridgeError, Code

__all__ = ["tls_broken_off", "tls_failure", "tls_timeout", "tls_unheard"]

_OF_VERIFICATION: Final = {
    9: "is not valid yet; set the clocks of both sides",
    10: "has expired; start the other side again, and check its clock",
    **dict.fromkeys(
        (2, 7, 18, 19, 20, 21), "is not the one that is trusted; connect host and plugin that were started together"
    ),
    26: "is not made for this use; make one with the extended key usages serverAuth and clientAuth",
    62: "is for another name; make one with that name as subject alternative name",
}
"""By the number of X509_verify_cert_error_string(3)."""
_REFUSES_OURS: Final = frozenset(
    {
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "SSL/TLS_ALERT_BAD_CERTIFICATE",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "TLSV1_ALERT_ACCESS_DENIED",
        "TLSV1_ALERT_DECRYPT_ERROR",
        "TLSV1_ALERT_UNKNOWN_CA",
    }
)
_NO_TLS: Final = frozenset({"HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE", "WRONG_VERSION_NUMBER"})
_NOTHING_IN_COMMON: Final = frozenset(
    {
        "NO_SHARED_CIPHER",
        "NO_SHARED_GROUP",
        "NO_SUITABLE_SIGNATURE_ALGORITHM",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "TLSV1_ALERT_INSUFFICIENT_SECURITY",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "UNSUPPORTED_PROTOCOL",
        "VERSION_TOO_LOW",
    }
)


def tls_failure(error: ssl.SSLError) -> BridgeError:
    """What an error of OpenSSL means.

    UNAUTHENTICATED, reason ``BAD_CERTIFICATE``, where one of the certificates is at fault; else UNAVAILABLE, reason
    ``TLS_FAILED``.
    """
    reason = error.reason or type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        problem = _OF_VERIFICATION.get(error.verify_code, "is refused; make another")
        return _bad_certificate(f"the certificate of the other side {problem} (OpenSSL: {error.verify_message})")
    if reason in _REFUSES_OURS:
        problem = "the other side refuses our certificate; connect host and plugin that were started together"
        return _bad_certificate(f"{problem} (OpenSSL: {reason})")
    if reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        problem = "the other side shows no certificate; use AutoMTLS on both sides, or on none"
        return _bad_certificate(f"{problem} (OpenSSL: {reason})")
    problem = "TLS has failed; look into the log of the other side"
    if reason in _NO_TLS:
        problem = "the other side does not speak TLS; use it on both sides, or on none"
    elif reason in _NOTHING_IN_COMMON:
        problem = "the two sides have no version or algorithm of TLS in common; both need TLS 1.2 or later"
    return BridgeError(Code.UNAVAILABLE, f"{problem} (OpenSSL: {reason})", reason="TLS_FAILED")


def tls_broken_off() -> BridgeError:
    """The other side has closed the connection in the handshake, without saying why."""
    message = (
        "the other side has closed the connection in the TLS handshake; look into its log, and check that it uses TLS"
    )
    return BridgeError(Code.UNAVAILABLE, message, reason="TLS_FAILED")


def tls_timeout(seconds: float) -> BridgeError:
    """The other side has connected and says nothing, or not enough."""
    message = f"the other side has not finished the TLS handshake in {seconds:g} s; check that it runs and speaks TLS"
    return BridgeError(Code.DEADLINE_EXCEEDED, message, reason="TLS_TIMEOUT")


def tls_unheard() -> BridgeError:
    """A server has closed the connection after the handshake, without a word."""
    message = "the other side has closed the connection at once; it may not trust our certificate, look into its log"
    return BridgeError(Code.UNAVAILABLE, message, reason="TLS_FAILED")


def _bad_certificate(message: str) -> BridgeError:
    return BridgeError(Code.UNAUTHENTICATED, message, reason="BAD_CERTIFICATE")
