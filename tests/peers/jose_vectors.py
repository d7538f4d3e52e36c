"""The examples of RFC 7515, RFC 7520, RFC 7797 and RFC 8037, as the package jwcrypto has them in its own tests.

Prints them as JSON: each with its name, its key without what is private, and the token in compact form. Only plain
assignments of the files are carried out, so that nothing of the package has to be installed but its text.

    jose_vectors.py FOLDER_OF_THE_PACKAGE
"""

import ast
import base64
import json
import pathlib
import sys

PRIVATE = {"d", "p", "q", "dp", "dq", "qi", "oth"}


def assigned(path):
    """What a file assigns at its top level without calling anything of the package."""
    names = {}
    for statement in ast.parse(path.read_text()).body:
        if isinstance(statement, ast.Assign):
            try:
                code = compile(ast.Module([statement], []), str(path), "exec")
                exec(code, names)
            except NameError:
                pass  # It needs the package itself, as the examples of encryption do.
    return names


def encode(data):
    if isinstance(data, list):
        data = bytes(data)
    if isinstance(data, str):
        data = data.encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def public(key):
    return {name: value for name, value in key.items() if name not in PRIVATE}


def main():
    folder = pathlib.Path(sys.argv[1])
    tests = assigned(folder / "tests.py")
    cookbook = assigned(folder / "tests-cookbook.py")
    vectors = []

    def add(name, key, token):
        vectors.append({"name": name, "key": public(key), "token": token})

    for number in range(1, 6):
        parts = [tests[f"A{number}_{part}"] for part in ("protected", "payload", "signature")]
        key = tests["SymmetricKeys"]["keys"][1] if number == 1 else tests[f"A{number}_key"]
        if number == 5:
            parts[0] = base64.urlsafe_b64decode(parts[0] + "==")  # This one header is encoded already.
        add(f"RFC 7515 A.{number}", key, ".".join(map(encode, parts)))
    add("RFC 7515 E", tests["A2_key"], tests["E_negative"])
    for number, key in [
        (1, "RSA_Public_Key_3_3"),
        (2, "RSA_Public_Key_3_3"),
        (3, "EC_Public_Key_3_1"),
        (4, "Symmetric_Key_MAC_3_5"),
    ]:
        add(f"RFC 7520 4.{number}", cookbook[key], cookbook[f"JWS_compact_4_{number}_3"])
    # The others of the cookbook have no compact form of their own: this is their signature over what is protected.
    payload = cookbook["Payload_plaintext_b64_4"]
    detached = ".".join([cookbook["JWS_Protected_Header_4_6_2"], payload, cookbook["JWS_Signature_4_6_2"]])
    add("RFC 7520 4.6", cookbook["Symmetric_Key_MAC_3_5"], detached)
    several = ".".join([cookbook["JWS_Protected_Header_4_8_2"], payload, cookbook["JWS_Signature_4_8_2"]])
    add("RFC 7520 4.8", cookbook["RSA_Public_Key_3_3"], several)
    unencoded = ".".join([encode(tests["rfc7797_u_header"]), tests["rfc7797_payload"], "A5dxf2s96_n5FLueVuW1Z_vh161FwXZC4YLPff6dmDY"])
    add("RFC 7797 4.2", tests["SymmetricKeys"]["keys"][1], unencoded)
    edwards = tests["E_Ed25519"]
    add("RFC 8037 A.4", json.loads(edwards["key_json"]), edwards["jws_serialization_compact"])
    json.dump(vectors, sys.stdout)


main()
