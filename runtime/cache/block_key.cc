#include "runtime/cache/block_key.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "kernels/core/check.h"

namespace cohort {
namespace {

// The first byte of what is digested, so that no salt is taken for a block.
constexpr unsigned char kRoot = 0;
constexpr unsigned char kBlock = 1;

}  // namespace

// Holds the secret as the digest's state after it, which every message begins from.
struct BlockKeyMaker::Mac {
  Mac() {
    unsigned char secret[32];
    COHORT_CHECK(RAND_bytes(secret, sizeof(secret)) == 1, "no random bytes");
    char digest[] = "SHA256";
    const OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                                 OSSL_PARAM_construct_end()};
    COHORT_CHECK(context.get() != nullptr && EVP_MAC_init(context.get(), secret, sizeof(secret), params) == 1,
                 "HMAC-SHA-256 is not in this OpenSSL");
  }

  void begin(unsigned char kind) {
    COHORT_CHECK(EVP_MAC_init(context.get(), nullptr, 0, nullptr) == 1, "HMAC");
    update(&kind, 1);
  }
  void update(const void* data, size_t num_bytes) {
    COHORT_CHECK(EVP_MAC_update(context.get(), static_cast<const unsigned char*>(data), num_bytes) == 1, "HMAC");
  }
  BlockKey end() {
    BlockKey key;
    size_t num_bytes = 0;
    COHORT_CHECK(EVP_MAC_final(context.get(), reinterpret_cast<unsigned char*>(key.data()), &num_bytes, sizeof(key)) &&
                     num_bytes == sizeof(key),
                 "HMAC");
    return key;
  }

  const std::unique_ptr<EVP_MAC, decltype(&EVP_MAC_free)> algorithm{EVP_MAC_fetch(nullptr, "HMAC", nullptr),
                                                                    EVP_MAC_free};
  const std::unique_ptr<EVP_MAC_CTX, decltype(&EVP_MAC_CTX_free)> context{EVP_MAC_CTX_new(algorithm.get()),
                                                                          EVP_MAC_CTX_free};
};

BlockKeyMaker::BlockKeyMaker() : mac_(std::make_unique<Mac>()) {}
BlockKeyMaker::~BlockKeyMaker() = default;

BlockKey BlockKeyMaker::root(std::string_view salt) {
  mac_->begin(kRoot);
  mac_->update(salt.data(), salt.size());
  return mac_->end();
}

BlockKey BlockKeyMaker::extend(const BlockKey& parent, std::span<const int32_t> tokens) {
  mac_->begin(kBlock);
  mac_->update(parent.data(), sizeof(parent));
  mac_->update(tokens.data(), tokens.size_bytes());
  return mac_->end();
}

}  // namespace cohort
