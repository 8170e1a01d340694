#include "storage/s3_xml.h"

#include <gtest/gtest.h>

#include <random>

namespace saker {
namespace {

const std::string kList =
    R"(<?xml version="1.0" encoding="UTF-8"?>
<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><Prefix>p%2F</Prefix><KeyCount>2</KeyCount>
<MaxKeys>1000</MaxKeys><IsTruncated>true</IsTruncated><NextContinuationToken>a&amp;b==</NextContinuationToken>
<EncodingType>url</EncodingType>
<Contents><Key>p/a%2Bb%0A</Key><LastModified>2026-11-23T15:04:05.678Z</LastModified><ETag>&quot;x&quot;</ETag><Size>5</Size></Contents>
<Contents><Key>p/c</Key><LastModified>2026-11-23T15:04:05Z</LastModified><Size>12345678901</Size></Contents>
</ListBucketResult>)";

const std::string kUploads =
    "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>k2</NextKeyMarker>"
    "<NextUploadIdMarker>u2</NextUploadIdMarker><Upload><Key>k</Key><UploadId>u</UploadId>"
    "<Initiated>2026-11-23T15:04:05.000Z</Initiated></Upload></ListMultipartUploadsResult>";

TEST(S3XmlTest, ReadsAList) {
  const auto page = ParseS3List(kList);
  ASSERT_TRUE(page.ok()) << page.status().ToString();
  ASSERT_EQ(page->objects.size(), 2u);
  EXPECT_EQ(page->objects[0].name, "p/a+b\n");
  EXPECT_EQ(page->objects[0].size_bytes, 5);
  EXPECT_EQ(page->objects[0].modified_unix_ms, 1795446245678);
  EXPECT_EQ(page->objects[1].size_bytes, 12345678901);
  EXPECT_EQ(page->objects[1].modified_unix_ms, 1795446245000);
  EXPECT_EQ(page->next_token, "a&b==");
}

TEST(S3XmlTest, RefusesListsThatLackSomething) {
  const auto with = [](const std::string& what, const std::string& instead) {
    std::string changed = kList;
    changed.replace(changed.find(what), what.size(), instead);
    return ParseS3List(changed).status();
  };
  EXPECT_TRUE(with("Name", "Name").ok());
  EXPECT_EQ(with("<Size>5</Size>", "").code(), ErrorCode::kIoFailed);
  EXPECT_EQ(with("<Size>5</Size>", "<Size>-5</Size>").code(), ErrorCode::kIoFailed);
  EXPECT_EQ(with("<Size>5</Size>", "<Size>5x</Size>").code(), ErrorCode::kIoFailed);
  EXPECT_EQ(with("12345678901", "99999999999999999999999").code(), ErrorCode::kIoFailed);
  EXPECT_EQ(with("<Key>p/c</Key>", "").code(), ErrorCode::kIoFailed);
  EXPECT_EQ(with("2026-11-23T15:04:05Z", "yesterday").code(), ErrorCode::kIoFailed);
  EXPECT_EQ(with("2026-11-23T15:04:05Z", "2026-1a-23T15:04:05Z").code(), ErrorCode::kIoFailed);
  EXPECT_EQ(with("<NextContinuationToken>a&amp;b==</NextContinuationToken>", "").code(), ErrorCode::kIoFailed);
  EXPECT_EQ(with("<IsTruncated>true</IsTruncated>", "").code(), ErrorCode::kIoFailed);
}

TEST(S3XmlTest, ReadsUploadsAndErrors) {
  const auto page = ParseS3Uploads(kUploads);
  ASSERT_TRUE(page.ok());
  ASSERT_EQ(page->uploads.size(), 1u);
  EXPECT_EQ(page->uploads[0].id, "u");
  EXPECT_EQ(page->uploads[0].started_unix_ms, 1795446245000);
  EXPECT_TRUE(page->truncated);
  EXPECT_EQ(page->next_id_marker, "u2");
  EXPECT_EQ(*ParseS3UploadId("<InitiateMultipartUploadResult><UploadId>x</UploadId></InitiateMultipartUploadResult>"),
            "x");
  EXPECT_FALSE(ParseS3UploadId("<InitiateMultipartUploadResult/>").ok());
  EXPECT_TRUE(CheckS3Completed("<CompleteMultipartUploadResult/>").ok());
  EXPECT_FALSE(CheckS3Completed("<Error><Code>InternalError</Code></Error>").ok());
  const S3Error error = ParseS3Error("<Error><Code>AccessDenied</Code><Message>no &lt;way&gt;</Message></Error>");
  EXPECT_EQ(error.code, "AccessDenied");
  EXPECT_EQ(error.message, "no <way>");
  EXPECT_EQ(S3CompleteBody({"\"a\"", "<&"}),
            "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>\"a\"</ETag></Part>"
            "<Part><PartNumber>2</PartNumber><ETag>&lt;&amp;</ETag></Part></CompleteMultipartUpload>");
}

TEST(S3XmlTest, GarbageIsAnError) {
  std::string deep;
  for (int i = 0; i < 300'000; ++i) deep += "<a>";
  for (const std::string& garbage : std::vector<std::string>{
           "", " ", "not xml", "<", "<a", "<ListBucketResult", "<ListBucketResult>", "<html><body>502</body></html>",
           std::string(1000, '\0'), std::string("\xff\xfe<\0L\0", 6),
           "<!DOCTYPE x [<!ENTITY a \"b\">]><Error>&a;</Error>", deep, "{\"error\": 1}"}) {
    EXPECT_FALSE(ParseS3List(garbage).ok()) << garbage.substr(0, 40);
    EXPECT_FALSE(ParseS3Uploads(garbage).ok());
    EXPECT_FALSE(ParseS3UploadId(garbage).ok());
    EXPECT_FALSE(CheckS3Completed(garbage).ok());
    EXPECT_EQ(ParseS3Error(garbage).code, "");
  }
}

// Every prefix of a good answer, and good answers with bytes changed: an error or a page, never anything worse; a list
// that was cut is never taken for a whole one.
TEST(S3XmlTest, DamagedAnswers) {
  for (size_t size = 0; size < kList.size(); ++size) EXPECT_FALSE(ParseS3List(kList.substr(0, size)).ok()) << size;
  std::mt19937 random(17);
  for (const std::string& good : {kList, kUploads}) {
    for (int round = 0; round < 5000; ++round) {
      std::string bad = good;
      for (int i = 0; i < 1 + round % 8; ++i) bad[random() % bad.size()] = static_cast<char>(random());
      const auto list = ParseS3List(bad);
      if (list.ok()) {
        for (const ObjectInfo& object : list->objects) EXPECT_GE(object.size_bytes, 0);
      }
      (void)ParseS3Uploads(bad).ok();
      (void)ParseS3Error(bad);
    }
  }
}

}  // namespace
}  // namespace saker
