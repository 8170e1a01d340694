#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "base/file.h"
#include "wal/log_contract.h"
#include "wal/log_format.h"

namespace saker {
namespace {

namespace fs = std::filesystem;

class ScratchDirectory {
 public:
  ScratchDirectory() {
    std::string pattern = (fs::temp_directory_path() / "saker_wal_XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ~ScratchDirectory() { fs::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

FileLogSettings SettingsFor(const std::string& directory, int64_t file_bytes = 64 << 20) {
  FileLogSettings settings;
  settings.directory = directory;
  settings.channels = 4;
  settings.file_bytes = file_bytes;
  settings.reserve_bytes = 1 << 20;
  return settings;
}

std::unique_ptr<Log> Open(const FileLogSettings& settings) {
  auto log = OpenFileLog(settings);
  EXPECT_TRUE(log.ok()) << log.status().ToString();
  return log.ok() ? std::move(log).value() : nullptr;
}

class FilesFixture final : public LogFixture {
 public:
  explicit FilesFixture(int64_t file_bytes) : settings_(SettingsFor(scratch_.path() + "/made/here", file_bytes)) {
    log_ = Open(settings_);
  }
  Log& log() override { return *log_; }
  void Reopen() override {
    log_.reset();
    log_ = Open(settings_);
  }
  bool atomic_over_channels() const override { return true; }

 private:
  ScratchDirectory scratch_;
  const FileLogSettings settings_;
  std::unique_ptr<Log> log_;
};

LogFactory FilesOf(int64_t file_bytes) {
  return [file_bytes]() -> std::unique_ptr<LogFixture> { return std::make_unique<FilesFixture>(file_bytes); };
}
INSTANTIATE_TEST_SUITE_P(Files, LogContract, testing::Values(FilesOf(64 << 20)));
INSTANTIATE_TEST_SUITE_P(SmallFiles, LogContract, testing::Values(FilesOf(2000)));
INSTANTIATE_TEST_SUITE_P(AFileABatch, LogContract, testing::Values(FilesOf(1)));

std::string Load(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}
void Save(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

class FileLogTest : public testing::Test {
 protected:
  ~FileLogTest() override { TEST_SetFileFault({}); }

  std::string directory() const { return scratch_.path() + "/log"; }
  std::string FilePath(uint64_t number) const { return directory() + "/" + LogFileName(number); }
  std::unique_ptr<Log> OpenSmall(int64_t file_bytes = 64 << 20) { return Open(SettingsFor(directory(), file_bytes)); }
  Status OpenStatus() { return OpenFileLog(SettingsFor(directory())).status(); }

  std::vector<std::string> Files() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(directory())) {
      if (entry.path().extension() != "" || entry.path().filename() != "LOCK") names.push_back(entry.path().filename());
    }
    std::sort(names.begin(), names.end());
    return names;
  }

  // What a crash leaves: the files as they are while the log is open. Cut to what the log has written.
  void CrashCopy(Log& log, const std::string& to) {
    fs::remove_all(to);
    fs::create_directories(to);
    for (const std::string& name : Files()) fs::copy_file(directory() + "/" + name, to + "/" + name);
    if (Files().size() == 1) fs::resize_file(to + "/" + Files()[0], static_cast<uintmax_t>(log.size_bytes()));
  }

  ScratchDirectory scratch_;
};

LogOffset Append(Log& log, ChannelId channel, Epoch epoch, const std::string& payload) {
  const auto offsets = AppendAndWait(log, {{channel, epoch, payload}});
  EXPECT_TRUE(offsets.ok()) << offsets.status().ToString();
  return offsets.ok() ? offsets->at(0) : -1;
}
PayloadList All(Log& log, ChannelId channel) { return Payloads(ReadAll(log, channel, *log.Begin(channel))); }

TEST_F(FileLogTest, ASecondProcessIsRefused) {
  const auto log = OpenSmall();
  const Status same = OpenStatus();
  EXPECT_EQ(same.code(), ErrorCode::kServiceUnavailable);
  EXPECT_NE(same.message().find(std::to_string(::getpid())), std::string::npos) << same.message();
  EXPECT_NE(same.message().find(directory()), std::string::npos);
  const pid_t child = ::fork();
  if (child == 0) ::_exit(OpenFileLog(SettingsFor(directory())).status().code() == ErrorCode::kServiceUnavailable ? 0 : 1);
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST_F(FileLogTest, ATailTornAnywhereLosesOnlyWhatIsTorn) {
  const auto log = OpenSmall();
  std::vector<int64_t> ends;
  ASSERT_TRUE(log->Fence(0, 1, "").ok());
  ends.push_back(log->size_bytes());
  for (int i = 0; i < 3; ++i) {
    Append(*log, 0, 1, "payload " + std::to_string(i));
    ends.push_back(log->size_bytes());
  }
  const std::string copy = scratch_.path() + "/copy";
  CrashCopy(*log, copy);
  const std::string path = copy + "/" + LogFileName(1);
  const std::string whole = Load(path);
  ASSERT_EQ(static_cast<int64_t>(whole.size()), ends.back());
  for (const std::string& behind : {std::string(), std::string(100, '\0'), std::string(37, '\xa5')}) {
    for (int64_t size = ends[0]; size <= ends.back(); size += behind.empty() ? 1 : 5) {
      Save(path, whole.substr(0, static_cast<size_t>(size)) + behind);
      const auto torn = Open(SettingsFor(copy));
      ASSERT_NE(torn, nullptr) << "size " << size;
      size_t kept = 0;
      // Behind the last whole frame there is padding, whose loss is no harm.
      while (kept < 3 && ends[kept + 1] - 8 < size) ++kept;
      const size_t found = All(*torn, 0).size();
      ASSERT_GE(found + 1, kept) << "size " << size;
      ASSERT_LE(found, kept) << "size " << size;
      ASSERT_TRUE(size != ends[kept] || found == kept) << "size " << size;
      ASSERT_EQ(Append(*torn, 0, 1, "more"), static_cast<LogOffset>(1 + found));
      ASSERT_EQ(All(*torn, 0).size(), found + 1);
    }
  }
}

TEST_F(FileLogTest, WhatFollowsATornTailSurvives) {
  {
    const auto log = OpenSmall();
    ASSERT_TRUE(log->Fence(0, 1, "").ok());
    Append(*log, 0, 1, "kept");
    CrashCopy(*log, scratch_.path() + "/copy");
  }
  fs::remove_all(directory());
  fs::rename(scratch_.path() + "/copy", directory());
  const std::string whole = Load(FilePath(1));
  Save(FilePath(1), whole + "torn frame, longer than the frame that will take its place" + std::string(300, 'x'));
  Append(*OpenSmall(), 0, 1, "a");
  Append(*OpenSmall(), 0, 1, "b");
  EXPECT_EQ(All(*OpenSmall(), 0), (PayloadList{"kept", "a", "b"}));
}

TEST_F(FileLogTest, DamageToWhatWasDurableIsNamed) {
  const auto log = OpenSmall();
  const int64_t start = log->size_bytes();
  ASSERT_TRUE(log->Fence(0, 1, "").ok());
  for (int i = 0; i < 3; ++i) Append(*log, 0, 1, "payload " + std::to_string(i));
  const int64_t last = log->size_bytes();
  Append(*log, 0, 1, "the last one");
  const std::string copy = scratch_.path() + "/copy";
  CrashCopy(*log, copy);
  const std::string path = copy + "/" + LogFileName(1);
  const std::string whole = Load(path);
  int damaged = 0;
  for (int64_t at = 0; at < static_cast<int64_t>(whole.size()); ++at) {
    std::string flipped = whole;
    flipped[static_cast<size_t>(at)] = static_cast<char>(flipped[static_cast<size_t>(at)] ^ (1 << (at % 8)));
    Save(path, flipped);
    const auto opened = OpenFileLog(SettingsFor(copy));
    if (opened.ok()) {
      // Padding, or the last frame, which nothing shows to have been durable.
      ASSERT_TRUE(at >= last || whole[static_cast<size_t>(at)] == '\0') << "byte " << at;
      ASSERT_GE(All(**opened, 0).size(), 3u);
      continue;
    }
    ++damaged;
    ASSERT_EQ(opened.status().code(), ErrorCode::kCorrupted) << opened.status().ToString();
    ASSERT_NE(opened.status().message().find(path), std::string::npos) << opened.status().message();
    ASSERT_NE(opened.status().message().find("offset"), std::string::npos) << opened.status().message();
    ASSERT_EQ(Load(path), flipped) << "a damaged log must be left as it is";
  }
  EXPECT_GT(damaged, start + (last - start) * 9 / 10);
}

TEST_F(FileLogTest, AfterACleanCloseDamageToTheLastRecordIsNamedToo) {
  {
    const auto log = OpenSmall();
    ASSERT_TRUE(log->Fence(0, 1, "").ok());
    Append(*log, 0, 1, "the last one");
  }
  std::string bytes = Load(FilePath(1));
  bytes[bytes.find("last")] ^= 4;
  Save(FilePath(1), bytes);
  const Status status = OpenStatus();
  EXPECT_EQ(status.code(), ErrorCode::kCorrupted);
  EXPECT_NE(status.message().find(FilePath(1)), std::string::npos) << status.message();
}

TEST_F(FileLogTest, DamageIsNoticedWhenRead) {
  const auto log = OpenSmall();
  ASSERT_TRUE(log->Fence(0, 1, "").ok());
  const LogOffset first = Append(*log, 0, 1, "fine");
  Append(*log, 0, 1, "flipped");
  std::string bytes = Load(FilePath(1));
  const size_t at = bytes.find("flipped");
  std::fstream(FilePath(1), std::ios::in | std::ios::out | std::ios::binary).seekp(static_cast<std::streamoff>(at)).put('F');
  EXPECT_EQ(log->Read(0, first, 1)->at(0).payload, "fine");
  const auto read = log->Read(0, first + 1, 1);
  EXPECT_EQ(read.status().code(), ErrorCode::kCorrupted);
  EXPECT_NE(read.status().message().find(FilePath(1)), std::string::npos) << read.status().message();
}

// Writes a log file by hand.
class FileMaker {
 public:
  FileMaker() {
    header_.salt = 0x1122334455667788;
    header_.channels.resize(4);
    bytes_ = EncodeLogFileHeader(header_);
  }
  size_t Add(const std::vector<LogRecordView>& records, int64_t durable_to) {
    LogFrame frame;
    frame.kind = LogFrameKind::kRecords;
    frame.records = records;
    const size_t at = bytes_.size();
    EncodeLogFrame(frame, next_++, durable_to, header_.salt, bytes_);
    return at;
  }
  std::string& bytes() { return bytes_; }
  int64_t size() const { return static_cast<int64_t>(bytes_.size()); }

 private:
  LogFileHeader header_;
  uint64_t next_ = 1;
  std::string bytes_;
};

TEST_F(FileLogTest, ABatchOfWhichLaterPartsReachedTheDiskFirstIsTornNotDamaged) {
  FileMaker maker;
  maker.Add({{0, LogRecordType::kFence, 0, 1, ""}}, maker.size());
  maker.Add({{0, LogRecordType::kData, 1, 1, "durable"}}, maker.size());
  const int64_t batch = maker.size();
  const size_t lost = maker.Add({{0, LogRecordType::kData, 2, 1, "never reached the disk"}}, batch);
  maker.Add({{0, LogRecordType::kData, 3, 1, "did, before it was synced"}}, batch);
  std::string torn = maker.bytes();
  std::fill(torn.begin() + static_cast<std::ptrdiff_t>(lost), torn.begin() + static_cast<std::ptrdiff_t>(lost) + 32, '\0');
  fs::create_directories(directory());
  Save(FilePath(1), torn);
  EXPECT_EQ(All(*OpenSmall(), 0), PayloadList{"durable"});
  // A frame written after a sync proves that the hole was once durable.
  maker.Add({{0, LogRecordType::kData, 4, 1, "later"}}, maker.size());
  std::string damaged = maker.bytes();
  std::copy(torn.begin(), torn.end(), damaged.begin());
  Save(FilePath(1), damaged);
  EXPECT_EQ(OpenStatus().code(), ErrorCode::kCorrupted);
}

TEST_F(FileLogTest, RecordsAfterAHigherFenceAreVoid) {
  FileMaker maker;
  const auto add = [&maker](LogRecordType type, LogOffset offset, Epoch epoch, std::string_view payload) {
    maker.Add({{0, type, offset, epoch, payload}}, maker.size());
  };
  add(LogRecordType::kFence, 0, 3, "");
  add(LogRecordType::kData, 1, 3, "valid");
  add(LogRecordType::kFence, 2, 5, "");
  add(LogRecordType::kData, 3, 3, "stray");
  add(LogRecordType::kData, 4, 5, "new");
  add(LogRecordType::kFence, 5, 5, "second of its epoch");
  add(LogRecordType::kFence, 6, 4, "late");
  add(LogRecordType::kData, 7, 4, "stray");
  add(LogRecordType::kData, 8, 5, "newer");
  fs::create_directories(directory());
  Save(FilePath(1), maker.bytes());
  const auto log = OpenSmall();
  EXPECT_EQ(All(*log, 0), (PayloadList{"valid", "new", "newer"}));
  EXPECT_EQ(Payloads(ReadAll(*log, 0, 3, 1)), (PayloadList{"new", "newer"}));
  EXPECT_EQ(ReadAll(*log, 0, 0).size(), 5u);
  EXPECT_EQ(*log->FencedEpoch(0), 5);
  EXPECT_EQ(*log->End(0), 9);
  ASSERT_TRUE(log->Truncate(0, 3, 5).ok());  // the fence that voids is gone, its effect is not
  EXPECT_EQ(All(*log, 0), (PayloadList{"new", "newer"}));
}

TEST_F(FileLogTest, FilesGoWhenNoChannelNeedsThem) {
  auto log = OpenSmall(2000);
  ASSERT_TRUE(log->Fence(0, 1, "").ok());
  ASSERT_TRUE(log->Fence(1, 1, "").ok());
  Append(*log, 1, 1, "old, in the first file");
  for (int i = 0; i < 50; ++i) Append(*log, 0, 1, std::string(200, 'x'));
  const size_t before = Files().size();
  const int64_t size_before = log->size_bytes();
  EXPECT_GT(before, 5u);
  ASSERT_TRUE(log->Truncate(0, *log->End(0), 1).ok());
  EXPECT_EQ(Files().size(), before) << "channel 1 still needs the first file";
  EXPECT_EQ(All(*log, 1), PayloadList{"old, in the first file"});
  ASSERT_TRUE(log->Truncate(1, *log->End(1), 1).ok());
  // Files are removed after the answer: the next answer shows that it was done.
  Append(*log, 2, 0, "x");
  EXPECT_LE(Files().size(), 2u);
  EXPECT_LT(log->size_bytes(), size_before / 3);
  log.reset();
  log = OpenSmall(2000);
  EXPECT_EQ(*log->Begin(0), 51);
  EXPECT_EQ(*log->End(0), 51);
  EXPECT_EQ(*log->Begin(1), 2);
  EXPECT_EQ(*log->FencedEpoch(1), 1);
}

TEST_F(FileLogTest, ALongFileIsLeftWhenNothingInItIsNeeded) {
  auto log = OpenSmall();
  ASSERT_TRUE(log->Fence(0, 1, "").ok());
  ASSERT_TRUE(log->Fence(1, 1, "").ok());
  for (int i = 0; i < 6; ++i) Append(*log, 0, 1, std::string(1 << 20, 'x'));
  EXPECT_GT(log->size_bytes(), 6 << 20);
  const LogOffset end = *log->End(0);
  ASSERT_TRUE(log->Truncate(0, end, 1).ok());
  EXPECT_GT(log->size_bytes(), 6 << 20);  // channel 1 still has its fence there
  ASSERT_TRUE(log->Truncate(1, *log->End(1), 1).ok());
  for (int i = 0; i < 1000 && log->size_bytes() > (1 << 20); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  EXPECT_LT(log->size_bytes(), 1 << 20);
  EXPECT_EQ(Files().size(), 1u);
  Append(*log, 0, 1, "after");
  log.reset();
  log = OpenSmall();
  EXPECT_EQ(*log->Begin(0), end);
  EXPECT_EQ(*log->End(0), end + 1);
  EXPECT_EQ(log->Read(0, end, 1 << 20)->front().payload, "after");
}

TEST_F(FileLogTest, AReaderKeepsWhatIsTruncatedUnderIt) {
  const auto log = OpenSmall(2000);
  ASSERT_TRUE(log->Fence(0, 1, "").ok());
  for (int i = 0; i < 300; ++i) Append(*log, 0, 1, std::string(100, static_cast<char>('a' + i % 26)));
  std::atomic<bool> stop{false};
  std::thread reader([&] {
    while (!stop) {
      const LogOffset from = *log->Begin(0);
      const auto read = log->Read(0, from, 20'000);
      if (!read.ok()) {
        EXPECT_EQ(read.status().code(), ErrorCode::kCompacted) << read.status().ToString();
      } else if (!read->empty()) {
        EXPECT_EQ(read->at(0).offset, from);
      }
    }
  });
  for (LogOffset before = 0; before <= 300; before += 10) ASSERT_TRUE(log->Truncate(0, before, 1).ok());
  stop = true;
  reader.join();
}

TEST_F(FileLogTest, AMissingFileIsNamedUnlessNobodyNeedsIt) {
  std::string needed;
  {
    const auto log = OpenSmall(2000);
    ASSERT_TRUE(log->Fence(0, 1, "").ok());
    for (int i = 0; i < 60; ++i) Append(*log, 0, 1, std::string(200, 'x'));
    needed = Load(FilePath(3));
    fs::remove(FilePath(3));
  }
  Status status = OpenStatus();
  EXPECT_EQ(status.code(), ErrorCode::kCorrupted);
  EXPECT_NE(status.message().find(LogFileName(3)), std::string::npos) << status.message();
  EXPECT_TRUE(fs::exists(FilePath(1))) << "nothing is removed from a damaged log";
  Save(FilePath(3), needed);
  EXPECT_EQ(All(*OpenSmall(), 0).size(), 60u);
  const std::string second = Load(FilePath(2));
  ASSERT_TRUE(OpenSmall()->Truncate(0, 40, 1).ok());
  EXPECT_FALSE(fs::exists(FilePath(2)));
  Save(FilePath(2), second);  // as if its removal had been lost, but not its neighbours'
  const auto log = OpenSmall();
  EXPECT_EQ(All(*log, 0).size(), 21u);
  EXPECT_FALSE(fs::exists(FilePath(2)));
}

TEST_F(FileLogTest, ChannelsMayBeAddedNotTaken) {
  FileLogSettings settings = SettingsFor(directory());
  Append(*Open(settings), 3, 0, "three");
  settings.channels = 9;
  Append(*Open(settings), 8, 0, "eight");
  {
    const auto log = Open(settings);
    EXPECT_EQ(All(*log, 8), PayloadList{"eight"});
    EXPECT_EQ(All(*log, 3), PayloadList{"three"});
  }
  settings.channels = 4;
  const Status status = OpenFileLog(settings).status();
  EXPECT_EQ(status.code(), ErrorCode::kParameterInvalid);
  EXPECT_NE(status.message().find("9 channels"), std::string::npos) << status.message();
}

TEST_F(FileLogTest, SettingsAreChecked) {
  FileLogSettings settings = SettingsFor(directory());
  settings.channels = 0;
  EXPECT_EQ(OpenFileLog(settings).status().code(), ErrorCode::kParameterInvalid);
  settings = SettingsFor(directory(), 0);
  EXPECT_EQ(OpenFileLog(settings).status().code(), ErrorCode::kParameterInvalid);
  settings = SettingsFor("");
  EXPECT_FALSE(OpenFileLog(settings).ok());
}

// The directory's lock makes all writers one.
TEST_F(FileLogTest, GoesOnAtTheStandingEpochWhenOpenedAnew) {
  auto log = OpenSmall();
  ASSERT_TRUE(log->Fence(0, 9, "").ok());
  for (int round = 0; round < 3; ++round) {
    log.reset();
    log = OpenSmall();
    EXPECT_TRUE(AppendAndWait(*log, {{0, 9, "on"}}).ok());
    EXPECT_TRUE(AppendAndWait(*log, {{1, 0, "never fenced"}}).ok());
  }
  EXPECT_EQ(Payloads(ReadAll(*log, 0, 0)), (PayloadList{"on", "on", "on"}));
}

TEST_F(FileLogTest, ATruncationTakesNoOffset) {
  auto log = OpenSmall();
  ASSERT_TRUE(log->Fence(0, 2, "").ok());
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(AppendAndWait(*log, {{0, 2, "x"}}).ok());
  const LogOffset end = *log->End(0);
  ASSERT_TRUE(log->Truncate(0, end, 2).ok());
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(*log->Begin(0), end);
    EXPECT_EQ(*log->End(0), end);
    log.reset();
    log = OpenSmall();
  }
  EXPECT_EQ(AppendAndWait(*log, {{0, 2, "next"}})->at(0), end);
}

TEST_F(FileLogTest, AnEpochMustFenceBeforeItAppends) {
  const auto log = OpenSmall();
  EXPECT_EQ(AppendAndWait(*log, {{0, 2, "x"}}).status().code(), ErrorCode::kParameterInvalid);
  EXPECT_EQ(log->Fence(0, 0, "").status().code(), ErrorCode::kParameterInvalid);
  ASSERT_TRUE(log->Fence(0, 2, "").ok());
  EXPECT_TRUE(AppendAndWait(*log, {{0, 2, "x"}}).ok());
}

TEST_F(FileLogTest, AppendsThatGatherShareASync) {
  const auto log = OpenSmall();
  std::atomic<int> syncs{0};
  TEST_SetFileFault([&syncs](FileOperation operation, const std::string&) {
    if (operation == FileOperation::kSync) {
      ++syncs;
      ::usleep(5000);
    }
    return 0;
  });
  std::promise<void> last;
  for (int i = 0; i < 1000; ++i) {
    log->Append({{i % 4, 0, "x"}}, [&last, i](Result<std::vector<LogOffset>> result) {
      EXPECT_TRUE(result.ok());
      if (i == 999) last.set_value();
    });
  }
  last.get_future().get();
  EXPECT_LE(syncs, 50);
}

TEST_F(FileLogTest, ClosingAnswersWhatIsQueued) {
  auto log = OpenSmall();
  std::atomic<int> answered{0};
  for (int i = 0; i < 100; ++i) {
    log->Append({{0, 0, std::to_string(i)}}, [&answered](Result<std::vector<LogOffset>> result) {
      EXPECT_TRUE(result.ok());
      ++answered;
    });
  }
  log.reset();
  EXPECT_EQ(answered, 100);
  EXPECT_EQ(All(*OpenSmall(), 0).size(), 100u);
}

class SizeLimit {
 public:
  explicit SizeLimit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_);
    rlimit limit = old_;
    limit.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~SizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit old_{};
  void (*handler_)(int);
};

TEST_F(FileLogTest, AFullDiskRefusesAndLeavesNothingHalfWritten) {
  auto log = OpenSmall();
  ASSERT_TRUE(log->Fence(0, 1, "").ok());
  Append(*log, 0, 1, "before");
  const int64_t size = log->size_bytes();
  log.reset();  // gives back the space reserved ahead
  log = OpenSmall();
  {
    const SizeLimit limit(static_cast<rlim_t>(size + 3000));
    const auto refused = AppendAndWait(*log, {{0, 1, std::string(10'000, 'x')}, {1, 0, "with it"}});
    EXPECT_EQ(refused.status().code(), ErrorCode::kDiskLimitExceeded) << refused.status().ToString();
    EXPECT_NE(refused.status().message().find(directory()), std::string::npos) << refused.status().message();
    EXPECT_EQ(*log->End(0), 2);
    EXPECT_EQ(*log->End(1), 0);
    EXPECT_LE(fs::file_size(FilePath(1)), static_cast<uintmax_t>(size) + 100) << "the partial record is still there";
    EXPECT_EQ(Append(*log, 0, 1, "small"), 2);  // what fits is taken
  }
  EXPECT_EQ(Append(*log, 0, 1, std::string(10'000, 'y')), 3);  // and by itself all, when space is back
  log.reset();
  EXPECT_EQ(All(*OpenSmall(), 0), (PayloadList{"before", "small", std::string(10'000, 'y')}));
  EXPECT_EQ(Files().size(), 1u);
}

TEST_F(FileLogTest, TheReserveIsKeptForFencesAndTruncations) {
  const auto log = OpenSmall(2000);
  ASSERT_TRUE(log->Fence(0, 1, "").ok());
  for (int i = 0; i < 30; ++i) Append(*log, 0, 1, std::string(200, 'x'));
  std::atomic<bool> full{true};
  TEST_SetFileFault([&full](FileOperation operation, const std::string&) {
    return operation == FileOperation::kFreeSpace && full ? ENOSPC : 0;
  });
  // Free space is looked at every few megabytes.
  auto refused = AppendAndWait(*log, {{0, 1, std::string(5 << 20, 'x')}});
  for (int i = 0; i < 3 && refused.ok(); ++i) refused = AppendAndWait(*log, {{0, 1, "x"}});
  EXPECT_EQ(refused.status().code(), ErrorCode::kDiskLimitExceeded);
  EXPECT_NE(refused.status().message().find(directory()), std::string::npos) << refused.status().message();
  EXPECT_NE(refused.status().message().find("1048576"), std::string::npos) << refused.status().message();
  const size_t files = Files().size();
  EXPECT_TRUE(log->Fence(0, 2, "").ok());
  EXPECT_TRUE(log->Truncate(0, *log->End(0), 2).ok());
  EXPECT_EQ(AppendAndWait(*log, {{0, 2, "x"}}).status().code(), ErrorCode::kDiskLimitExceeded);
  EXPECT_LT(Files().size(), files);
  full = false;
  EXPECT_TRUE(AppendAndWait(*log, {{0, 2, "x"}}).ok());
}

// After a failed sync nothing is known of what was written since the last one.
TEST_F(FileLogTest, AFailedSyncVoidsTheBatchOnceANewFileIsBegun) {
  auto log = OpenSmall();
  ASSERT_TRUE(log->Fence(0, 1, "").ok());
  Append(*log, 0, 1, "before");
  TEST_SetFileFault([](FileOperation operation, const std::string&) {
    return operation == FileOperation::kSync || operation == FileOperation::kTruncate ? EIO : 0;
  });
  const auto failed = AppendAndWait(*log, {{0, 1, "of unknown fate"}});
  EXPECT_EQ(failed.status().code(), ErrorCode::kIoFailed);
  EXPECT_EQ(*log->End(0), 2);
  // As long as no new file can be made durable, nothing is acknowledged.
  EXPECT_EQ(AppendAndWait(*log, {{0, 1, "x"}}).status().code(), ErrorCode::kIoFailed);
  EXPECT_EQ(log->Fence(0, 2, "").status().code(), ErrorCode::kIoFailed);
  EXPECT_EQ(log->Truncate(0, 1, 1).code(), ErrorCode::kIoFailed);
  const std::string first_file = Load(FilePath(1));
  EXPECT_NE(first_file.find("unknown fate"), std::string::npos);
  TEST_SetFileFault({});
  ASSERT_TRUE(log->Fence(0, 2, "").ok());
  EXPECT_EQ(Files().size(), 2u);
  Append(*log, 0, 2, "after");
  EXPECT_EQ(All(*log, 0), (PayloadList{"before", "after"}));
  log.reset();
  Save(FilePath(1), first_file);  // the disk had taken it after all
  EXPECT_EQ(All(*OpenSmall(), 0), (PayloadList{"before", "after"}));
}

TEST_F(FileLogTest, ANewFileThatCannotBeBegunIsTriedAgain) {
  for (const FileOperation failing : {FileOperation::kOpen, FileOperation::kWrite, FileOperation::kSync,
                                      FileOperation::kRename, FileOperation::kSyncDirectory}) {
    for (const int error : {EIO, ENOSPC}) {
      fs::remove_all(directory());
      auto log = OpenSmall(300);
      ASSERT_TRUE(log->Fence(0, 1, "").ok());
      Append(*log, 0, 1, std::string(300, 'x'));
      TEST_SetFileFault([=](FileOperation operation, const std::string&) { return operation == failing ? error : 0; });
      const ErrorCode expected = error == EIO ? ErrorCode::kIoFailed : ErrorCode::kDiskLimitExceeded;
      EXPECT_EQ(AppendAndWait(*log, {{0, 1, "x"}}).status().code(), expected) << static_cast<int>(failing);
      EXPECT_EQ(AppendAndWait(*log, {{0, 1, "x"}}).status().code(), expected) << static_cast<int>(failing);
      TEST_SetFileFault({});
      Append(*log, 0, 1, "y");
      log.reset();
      EXPECT_EQ(All(*OpenSmall(300), 0), (PayloadList{std::string(300, 'x'), "y"}));
    }
  }
}

TEST_F(FileLogTest, AFileHalfBegunIsRemoved) {
  Append(*OpenSmall(), 0, 0, "x");
  Save(directory() + "/" + LogFileName(2) + ".tmp", "half a header");
  EXPECT_EQ(All(*OpenSmall(), 0), PayloadList{"x"});
  EXPECT_EQ(Files(), std::vector<std::string>{LogFileName(1)});
}

}  // namespace
}  // namespace saker
