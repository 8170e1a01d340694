#include "storage/s3_sign.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace saker {
namespace {

// The examples of AWS's documentation ("Signature Calculations for the Authorization Header"), with its keys and time.
const S3Credentials kExampleKeys{"AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ""};
constexpr int64_t kExampleTime = 1369353600;  // 2013-05-24T00:00:00Z

S3Request Example(const std::string& method, const std::string& path) {
  return {method, path, {}, {{"host", "examplebucket.s3.amazonaws.com"}}, Sha256Hex("")};
}

std::string Header(const S3Request& request, const std::string& name) {
  const auto found = std::find_if(request.headers.begin(), request.headers.end(),
                                  [&name](const auto& header) { return header.first == name; });
  return found == request.headers.end() ? "" : found->second;
}

std::string Signed(S3Request request) {
  SignS3Request(request, kExampleKeys, "us-east-1", kExampleTime);
  return Header(request, "authorization");
}

std::string Authorization(const std::string& headers, const std::string& signature) {
  return "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,SignedHeaders=" +
         headers + ",Signature=" + signature;
}

TEST(S3SignTest, GetWithRange) {
  S3Request request = Example("GET", "/test.txt");
  request.headers.emplace_back("range", "bytes=0-9");
  EXPECT_EQ(Signed(request), Authorization("host;range;x-amz-content-sha256;x-amz-date",
                                           "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"));
}

TEST(S3SignTest, PutWithAKeyToEncode) {
  S3Request request = Example("PUT", "/test$file.text");
  request.headers.emplace_back("date", "Fri, 24 May 2013 00:00:00 GMT");
  request.headers.emplace_back("x-amz-storage-class", "REDUCED_REDUNDANCY");
  request.payload_sha256 = Sha256Hex("Welcome to Amazon S3.");
  EXPECT_EQ(Signed(request), Authorization("date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
                                           "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"));
}

TEST(S3SignTest, QueryWithoutValue) {
  S3Request request = Example("GET", "/");
  request.query = {{"lifecycle", ""}};
  EXPECT_EQ(Signed(request), Authorization("host;x-amz-content-sha256;x-amz-date",
                                           "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"));
}

TEST(S3SignTest, QueryIsSorted) {
  S3Request request = Example("GET", "/");
  request.query = {{"prefix", "J"}, {"max-keys", "2"}};
  EXPECT_EQ(Signed(request), Authorization("host;x-amz-content-sha256;x-amz-date",
                                           "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"));
}

TEST(S3SignTest, AddsWhatItSigns) {
  S3Request request = Example("GET", "/");
  SignS3Request(request, {"id", "key", "token"}, "eu-west-1", kExampleTime);
  EXPECT_EQ(Header(request, "x-amz-date"), "20130524T000000Z");
  EXPECT_EQ(Header(request, "x-amz-security-token"), "token");
  EXPECT_EQ(Header(request, "x-amz-content-sha256"),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_NE(Header(request, "authorization").find("x-amz-security-token"), std::string::npos);
}

TEST(S3SignTest, Encoding) {
  EXPECT_EQ(UriEncode("AZaz09-._~"), "AZaz09-._~");
  EXPECT_EQ(UriEncode("a b+c/d\xc3\xa4%"), "a%20b%2Bc%2Fd%C3%A4%25");
  EXPECT_EQ(UriEncode("a/b c", true), "a/b%20c");
  EXPECT_EQ(CanonicalQuery({{"b", "2"}, {"a", "x y"}, {"a-b", ""}}), "a=x%20y&a-b=&b=2");
}

}  // namespace
}  // namespace saker
